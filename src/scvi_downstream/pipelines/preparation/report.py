"""The section on the quality of the counts, and the design of the study in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.cells.study_design import comparison_sentence
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust
from scvi_downstream.runtime.words import count, sentence

SECTION = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item("qc_figure", "Quality metrics per cell, with the filters that were applied."),
        Item("highly_variable_genes_figure", "Highly variable genes: those that the models see."),
    ),
)


def left_out(contents: Mapping[str, Any]) -> Iterator[str]:
    """Columns that look like keys which are not set."""
    if found := (contents.get("preparation_summary") or {}).get("looks_like"):
        yield sentence(found)


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[str]:
    """What to beware of in the counts; the samples, how conditions are compared, and how columns lie to one another."""
    summary = contents.get("preparation_summary") or {}
    yield from (sentence(str(warning)) for warning in summary.get("warnings") or [])
    design = summary.get("design")
    if design and design["sentences"]:
        first, *others = map(sentence, design["sentences"])
        compared = sentence(comparison_sentence(design, study.keys))
        yield f"{first} {compared}".strip()
        yield from others


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How much was kept, and whether there is something to beware of."""
    summary = contents.get("preparation_summary")
    if not summary:
        return None
    warnings = summary.get("warnings") or []
    kept, given = summary["n_cells"], summary.get("n_cells_raw", summary["n_cells"])
    text = f"Raw counts; {f'{kept:,} of {given:,}' if kept < given else 'all'} cells kept"
    if not warnings:
        return Headline(text, Trust.HOLDS)
    return Headline(f"{text}; {count(len(warnings), 'warning')} to read", Trust.UNCERTAIN)
