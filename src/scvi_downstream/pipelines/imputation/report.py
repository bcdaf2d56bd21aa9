"""Imputation in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import OUTPUT, Item, Section
from scvi_downstream.runtime.words import Finding, verdicts

SECTION = Section(
    "Imputation",
    "Denoised expression, and what it is worth: part of each cell's counts is held out and predicted from "
    "the rest.",
    (
        Item(
            dataset="imputation_score_figure",
            caption="Error and correlation on held-out counts, against naive baselines.",
        ),
        Item(
            dataset="imputation_scores",
            caption="Scores on held-out counts.",
            file=OUTPUT + "imputation_scores.json",
            folded=True,
        ),
        Item(
            dataset="imputation_by_gene",
            caption="Scores by gene, the most abundant first.",
            file=OUTPUT + "imputation_by_gene.csv",
            order="mean_held_out",
            folded=True,
        ),
        Item(dataset="imputation_figure", caption="Raw counts beside denoised expression on the UMAP."),
    ),
)


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[Finding]:
    """What denoised expression is worth."""
    yield from verdicts("Imputation", contents.get("imputation_scores"))
