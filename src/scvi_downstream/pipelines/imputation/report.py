"""Clusters, expression tests and imputation in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section
from scvi_downstream.report.words import Finding, count, listed, verdicts

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


def describe_imputation(study: Any) -> str:
    """Denoising, counterfactuals and the score on held-out counts."""
    options = study.imputation
    scale = (
        "each cell's own library size"
        if options.library_size == "latent"
        else f"{options.library_size:,.0f} counts a cell"
    )
    text = [
        f"Denoised expression is the mean of {count(options.n_samples, 'posterior sample')}, scaled to "
        f"{scale}."
    ]
    if options.transform_batch:
        text.append(
            "Counterfactual expression was decoded as if every cell came from "
            f"{listed(list(options.transform_batch))}."
        )
    text.append(
        "It was scored by binomial thinning [@batson2019; @neufeld2024] of cells that the model was not "
        f"trained on: {options.score.held_out_share:.0%} of their counts were held out and predicted from "
        "the rest, by the model, by the mean of each gene and by smoothing over neighbours."
    )
    return " ".join(text)


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[Finding]:
    """What denoised expression is worth."""
    yield from verdicts("Imputation", contents.get("imputation_scores"))
