"""Imputation in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Item, Section, result
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
        result("imputation_scores.json", "Scores on held-out counts.", folded=True),
        result(
            "imputation_by_gene.csv",
            "Scores by gene, the most abundant first.",
            order="mean_held_out",
            folded=True,
        ),
        Item(dataset="imputation_figure", caption="Raw counts beside denoised expression on the UMAP."),
    ),
)


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[Finding]:
    """What denoised expression is worth."""
    yield from verdicts("Imputation", contents.get("imputation_scores"))
