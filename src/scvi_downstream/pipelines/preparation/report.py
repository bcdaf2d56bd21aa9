"""The section on the quality of the counts."""

from __future__ import annotations

from scvi_downstream.report.sections import Item, Section

SECTION = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item("qc_figure", "Quality metrics per cell, with the filters that were applied."),
        Item("hvg_figure", "Highly variable genes: those that the models see."),
    ),
)
