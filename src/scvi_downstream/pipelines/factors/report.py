"""Latent factors in the report: what is shown, and what dimensions follow in numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import count, up_to

SECTION = Section(
    "Latent factors",
    "What the dimensions of the latent space stand for: genes that load on them and covariates that they follow. "
    "Factors are dimensions of a model with loadings, ordered by the variance of decoded expression that they "
    "explain and signed so that their heavier tail points upwards. A loading is the change of log-expression per "
    "standard deviation of the factor, relative to the mean gene.",
    (
        Item(
            "{primary}.associations_figure",
            "Association of every latent dimension of {primary} with every covariate.",
        ),
        Item(
            "{model}.loadings_figure",
            "Genes that the factors of {model} raise and lower most, with the share of the decoded variance, "
            "and what of it no other factor predicts.",
        ),
        result(
            "{model}/factor_variance.csv",
            "Factors of each model with loadings: their dimension, its sign, and the variance of decoded "
            "and of observed expression that they explain.",
            folded=True,
        ),
        Item(
            "{model}.associations_figure", "Association of every dimension of {model} with every covariate."
        ),
        result(
            "factor_associations.csv",
            "Associations of all models, the strongest first: Spearman's ρ and R² of numbers, "
            "Kruskal–Wallis and η² of categories.",
            groups=("model",),
            columns=names(
                "model dimension covariate kind unit n test rho r2 eta2 effect p p_adjusted follows"
            ),
            order="effect",
            folded=True,
        ),
        result("factor_summary.json", "What the dimensions follow, in words and numbers.", folded=True),
    ),
)

TECHNICAL = r"mito|mt_percent|percent_mt|ribo|n_counts|total_counts|n_genes|n_umi|size_factor"
"""Names, or parts of names, of what measures depth or quality."""
N_NAMED = 4


def summarize_factors(
    factor_associations: pd.DataFrame, primary: str, keys: Keys, options: FactorOptions
) -> dict[str, Any]:
    """Numbers per model, and sentences on what dimensions follow.

    Parameters
    ----------
    factor_associations, primary
        One row a model, dimension and covariate, with ``follows``; name of the primary model.
    keys, options
        Batch and sample; thresholds.

    Returns
    -------
    Per model ``n_covariates``, ``n_followed`` and ``one_to_one``: the mean over followed covariates of how far
    the largest effect is above the second largest, as a share of it. And at most four ``sentences``: the primary
    model, another one with loadings, technical covariates, tests on cells.
    """
    best = strongest(factor_associations)
    summary: dict[str, Any] = {}
    for model, rows in best.groupby("model", sort=False):
        followed = rows[rows["follows"]]
        gap = (followed["effect"] - followed["second"]) / followed["effect"]
        summary[str(model)] = {
            "n_covariates": len(rows),
            "n_followed": len(followed),
            "one_to_one": float(gap.mean()) if gap.notna().any() else None,
        }
    is_factor = factor_associations["dimension"].str.startswith("factor_")
    others = factor_associations.loc[is_factor & (factor_associations["model"] != primary), "model"].unique()
    technical = best["covariate"].str.contains(TECHNICAL, case=False) | (best["covariate"] == keys.batch_key)
    sentences = [
        _followed_sentence(best[~technical & (best["model"] == model)], model, options)
        for model in (primary, *others[:1])
    ]
    depth = best[technical & (best["model"] == primary) & best["follows"]]
    if len(depth):
        followed = ", ".join(_followed(depth))
        sentences.append(
            f"Technical covariates are followed in {primary}, too: {followed}; such dimensions may tell depth, quality "
            "or batch."
        )
    on_cells = best.loc[best["unit"] == "cell", "covariate"].astype(str).unique().tolist()
    if not keys.sample_key:
        sentences.append(
            "No sample_key is set, so all associations were tested on cells: cells of one sample are not independent, "
            "and p-values are too small for whatever differs between samples."
        )
    elif on_cells:
        sentences.append(
            f"What differs within samples of '{keys.sample_key}' was tested on cells within samples "
            f"({up_to(on_cells, N_NAMED)}): it holds for these samples, not for others. Which sample a cell is of was "
            "tested over all cells."
        )
    return summary | {"sentences": sentences}


def strongest(associations: pd.DataFrame) -> pd.DataFrame:
    """One row a model and covariate: the dimension with the largest effect, and ``second``, the next largest."""
    tested = associations[associations["effect"].notna()]
    ranked = tested.sort_values("effect", ascending=False, kind="stable")
    covariate = ["model", "covariate"]
    second = ranked.groupby(covariate, sort=False)["effect"].shift(-1)
    return ranked.assign(second=second).drop_duplicates(covariate)


def _followed_sentence(best: pd.DataFrame, model: str, options: FactorOptions) -> str:
    follows = best[best["follows"]]
    threshold = f"effect ≥ {options.min_effect:g} at FDR {options.fdr:g}"
    if follows.empty:
        return f"No dimension of {model} follows any of {len(best)} covariates ({threshold})."
    return (
        f"In {model}, {up_to(_followed(follows), N_NAMED)}; {len(follows)} of {len(best)} covariates are "
        f"followed ({threshold})."
    )


def _followed(rows: pd.DataFrame) -> list[str]:
    return [
        f"{row.dimension.replace('latent_', 'dimension ').replace('factor_', 'factor ')} follows {row.covariate} "
        f"({_effect_text(row)})"
        for row in rows.itertuples()
    ]


def _effect_text(row: Any) -> str:
    """``ρ = -0.62`` or ``η² = 0.81``, and of how many samples where it is not of cells."""
    effect = f"ρ = {row.rho:.2f}" if row.kind == "continuous" else f"η² = {row.eta2:.2f}"
    return f"{effect} over {row.n} samples" if row.unit == "sample" else effect


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """How many covariates the latent follows, and which one most closely."""
    summary, associations = contents.get("factor_summary"), contents.get("factor_associations")
    if not summary or study.primary not in summary or associations is None:
        return None
    own = summary[study.primary]
    text = f"Latent dimensions follow {own['n_followed']} of {count(own['n_covariates'], 'covariate')}"
    best = strongest(associations[associations["model"] == study.primary])
    best = best[best["follows"]]
    if best.empty:
        return Headline(text, Trust.HOLDS)
    first = best.iloc[0]
    on_samples = bool(study.keys.sample_key)
    return Headline(
        f"{text}, most closely {first['covariate']} ({_effect_text(first)})"
        + ("" if on_samples else "; tested on cells"),
        Trust.HOLDS if on_samples else Trust.UNCERTAIN,
    )
