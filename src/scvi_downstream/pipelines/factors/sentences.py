"""What latent dimensions follow, in sentences."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.parameters import FactorOptions, Keys

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
