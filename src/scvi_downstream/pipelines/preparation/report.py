"""The section on the quality of the counts, and the design of the study in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.cells.study_design import comparison_sentence
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Item, Section
from scvi_downstream.runtime.words import Finding, sentence

SECTION = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item("qc_figure", "Quality metrics per cell, with the filters that were applied."),
        Item("hvg_figure", "Highly variable genes: those that the models see."),
    ),
)


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[Finding]:
    """The samples and how conditions are compared, in one sentence, and how the study's columns lie to one another."""
    design = (contents.get("preparation_summary") or {}).get("design")
    if design and design["sentences"]:
        first, *others = map(sentence, design["sentences"])
        compared = sentence(comparison_sentence(design, study.keys))
        yield Finding("Design", f"{first} {compared}".strip())
        yield from (Finding("Design", text) for text in others)
