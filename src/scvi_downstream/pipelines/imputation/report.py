"""Imputation in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, result
from scvi_downstream.runtime.words import sentence

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

BASELINES = {
    "gene_mean": "the mean of each gene",
    "knn_smoothing": "smoothing over neighbours",
    "thinned_cell": "the thinned cell itself",
}


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[str]:
    """What denoised expression is worth."""
    if scores := contents.get("imputation_scores"):
        yield sentence(scores["verdict"])


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """Whether the model predicts held-out counts better than the best naive baseline."""
    scores = contents.get("imputation_scores")
    if not scores:
        return None
    difference, baseline = scores["difference"], BASELINES[scores["best_baseline"]]
    loss = scores["methods"][scores["best_baseline"]]["poisson_nll"]["value"]
    gain = f"(Poisson loss {100 * difference['value'] / loss:+.1f} %)"
    if difference["high"] < 0:
        return Headline(f"Held-out counts are predicted better than by {baseline} {gain}", Trust.HOLDS)
    if difference["low"] > 0:
        return Headline(f"Held-out counts are predicted worse than by {baseline} {gain}", Trust.FAILS)
    return Headline(f"Held-out counts are predicted as well as by {baseline} {gain}", Trust.UNCERTAIN)
