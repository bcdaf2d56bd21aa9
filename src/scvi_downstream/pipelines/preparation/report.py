"""The section on the quality of the counts."""

from __future__ import annotations

from scvi_downstream.report.sections import Item, Section

SECTION = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item(dataset="qc_figure", caption="Quality metrics per cell, with the filters that were applied."),
        Item(dataset="hvg_figure", caption="Highly variable genes: those that the models see."),
    ),
)
