"""Latent factors in the report."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import DEMO, Study
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import listed

SECTION = Section(
    "Latent factors",
    "What the dimensions of the latent space stand for: genes that load on them and covariates that they follow. "
    "Factors are dimensions of a model with loadings, ordered by the variance of decoded expression that they "
    "explain and signed so that their heavier tail points upwards. A loading is the change of log-expression per "
    "standard deviation of the factor, relative to the mean gene.",
    (
        Item(
            dataset="{primary}.associations_figure",
            caption="Association of every latent dimension of {primary} with every covariate.",
        ),
        Item(
            dataset="{model}.loadings_figure",
            caption="Genes that the factors of {model} raise and lower most, with the share of the decoded variance, "
            "and what of it no other factor predicts.",
        ),
        Item(
            dataset="{model}.factor_variance",
            caption="Factors of each model with loadings: their dimension, its sign, and the variance of decoded "
            "and of observed expression that they explain.",
            file=OUTPUT + "{model}/factor_variance.csv",
            folded=True,
        ),
        Item(
            dataset="{model}.associations_figure",
            caption="Association of every dimension of {model} with every covariate.",
        ),
        Item(
            dataset="factor_associations",
            caption="Associations of all models, the strongest first: Spearman's ρ and R² of numbers, "
            "Kruskal–Wallis and η² of categories.",
            file=OUTPUT + "factor_associations.csv",
            groups=("model",),
            columns=names(
                "model dimension covariate kind unit n test rho r2 eta2 effect p p_adjusted follows"
            ),
            order="effect",
            folded=True,
        ),
        Item(
            dataset="factor_summary",
            caption="What the dimensions follow, in words and numbers.",
            file=OUTPUT + "factor_summary.json",
            folded=True,
        ),
    ),
)


TECHNICAL = r"mito|mt_percent|percent_mt|ribo|n_counts|total_counts|n_genes|n_umi|size_factor"
"""Names, or parts of names, of what measures depth or quality."""
N_NAMED = 4


def strongest(associations: pd.DataFrame) -> pd.DataFrame:
    """One row a model and covariate: the dimension with the largest effect, and ``second``, the next largest."""
    tested = associations[associations["effect"].notna()]
    ranked = tested.sort_values("effect", ascending=False, kind="stable")
    by_covariate = ranked.groupby(["model", "covariate"], sort=False)
    second = by_covariate["effect"].nth(1)
    first = by_covariate.head(1)
    keyed = pd.Series(
        second.to_numpy(), index=pd.MultiIndex.from_frame(ranked.loc[second.index, ["model", "covariate"]])
    )
    return first.assign(
        second=keyed.reindex(pd.MultiIndex.from_frame(first[["model", "covariate"]])).to_numpy()
    )


def describe_associations(
    best: pd.DataFrame, primary: str, factored: list[str], keys: Keys, options: FactorOptions
) -> list[str]:
    """At most four sentences: the primary model, another one with loadings, technical covariates, tests on cells.

    Parameters
    ----------
    best
        Of :func:`strongest`, with ``follows``.
    primary
        Name of the primary model.
    factored
        Names of the models with loadings.
    keys
        Batch and sample.
    options
        Thresholds.
    """
    technical = best["covariate"].str.contains(TECHNICAL, case=False) | (best["covariate"] == keys.batch_key)
    told = [primary, *[model for model in factored if model != primary][:1]]
    sentences = [_followed(best[~technical & (best["model"] == model)], model, options) for model in told]
    of_primary = best[technical & (best["model"] == primary) & best["follows"]]
    if len(of_primary):
        sentences.append(
            f"Technical covariates are followed in {primary}, too: {_listed(of_primary)}; such dimensions may tell "
            "depth, quality or batch."
        )
    if not keys.sample_key:
        sentences.append(
            "No sample_key is set, so all associations were tested on cells: cells of one sample are not independent, "
            "and p-values are too small for whatever differs between samples."
        )
    elif on_cells := best.loc[best["unit"] == "cell", "covariate"].astype(str).unique().tolist():
        more = f" and {len(on_cells) - N_NAMED} more" if len(on_cells) > N_NAMED else ""
        sentences.append(
            f"What differs within samples of '{keys.sample_key}', and which sample it is, was tested on cells "
            f"({', '.join(on_cells[:N_NAMED])}{more}): cells of one sample are not independent, so these p-values "
            "are too small."
        )
    return sentences


def _followed(best: pd.DataFrame, model: str, options: FactorOptions) -> str:
    follows = best[best["follows"]]
    threshold = f"effect ≥ {options.min_effect:g} at FDR {options.fdr:g}"
    if follows.empty:
        return f"No dimension of {model} follows any of {len(best)} covariates ({threshold})."
    more = len(follows) - N_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return (
        f"In {model}, {_listed(follows.head(N_NAMED))}{rest}; {len(follows)} of {len(best)} covariates are followed "
        f"({threshold})."
    )


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name_of(row.dimension)} follows {row.covariate} ({effect_of(row)})" for row in rows.itertuples()
    )


def name_of(dimension: str) -> str:
    """``factor 3``, ``dimension 3``."""
    return str(dimension).replace("latent_", "dimension ").replace("factor_", "factor ")


def effect_of(row: object) -> str:
    """``ρ = -0.62`` or ``η² = 0.81``, and of how many samples where it is not of cells."""
    continuous = getattr(row, "kind", "") == "continuous"
    effect = f"ρ = {getattr(row, 'rho', 0):.2f}" if continuous else f"η² = {getattr(row, 'eta2', 0):.2f}"
    return f"{effect} over {getattr(row, 'n', 0)} samples" if getattr(row, "unit", "") == "sample" else effect


def describe_factors(study: Any, keys: Keys, graph: Study) -> str:
    """How latent dimensions were ordered and tested against covariates."""
    options = study.factors
    text = []
    factored = [f"`{name}`" for name, spec in graph.models.items() if "loadings" in spec.can]
    if factored:
        text.append(
            f"Latent dimensions of {listed(factored)} were read as factors: the effect of a dimension on a gene is "
            "the decoded log-expression, relative to the mean gene of the cell, less that with the dimension at its "
            "mean; loadings are the slopes of these effects per standard deviation of the dimension. Factors were "
            "ordered by the variance of their effects, and signed so that the cubes of their loadings have a "
            "positive sum. Factors with less than 0.01 % of the decoded variance were not interpreted."
        )
    text.append(
        "Each dimension was tested against batch, labels, quality metrics, cell-cycle scores and every other "
        "annotation of the cells: numbers by Spearman's rank correlation [@spearman1904] (with the R² of a "
        "linear regression), categories by the Kruskal-Wallis test [@kruskal1952] (with η², the share of variance "
        f"between categories), corrected over all tests of a model on one unit (cells or samples) "
        "[@benjamini1995]; associations with |ρ| or η² "
        f"of at least {options.min_effect:g} at a false discovery rate of {options.fdr:g} are reported."
    )
    text.append(
        f"Covariates that are constant within `{keys.sample_key}` were tested on its means{_parts(keys)}, by all "
        "permutations where there are no more than 8 of them."
        if keys.sample_key
        else "Cells were taken as independent, as no samples are known."
    )
    text.append(
        "Cell-cycle scores are those of the published data."
        if study.input == DEMO
        else "Where the data brought no cell-cycle scores and at least 10 genes of both lists were measured, they "
        f"were computed from the genes of Tirosh et al. [@tirosh2016] with {named('scanpy')} [@wolf2018]."
    )
    return " ".join(text)


def _parts(keys: Keys) -> str:
    if not keys.condition_key:
        return ""
    return (
        f" (where it holds several values of `{keys.condition_key}`, those that vary with these on the means of its "
        "cells of each)"
    )
