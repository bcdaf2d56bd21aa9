"""What latent dimensions stand for: genes that load on them, covariates that they follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, split_by_condition
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.factors.effects import latent_effects, order_factors
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.factors.plots import plot_associations, plot_loadings
from scvi_downstream.pipelines.factors.report import describe_associations, strongest
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.statistics.association import associate

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "associate_factors",
    "associate_latent",
    "gather_associations",
    "gather_factors",
    "plot_associations",
    "plot_loadings",
    "read_loadings",
    "summarize_factors",
]


def read_loadings(
    fitted: SavedModel, latent: pd.DataFrame, counts: AnnData, accelerator: Accelerator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes that load on latent factors, and the variance that these explain.

    Returns
    -------
    Loadings (genes × ``factor_1`` …) and one row a factor with its dimension, sign and shares of variance; see
    :func:`.ordering.order_factors`.
    """
    model = fitted.attach(counts, accelerator)
    latent = latent.loc[model.adata.obs_names]
    effects = latent_effects(model, latent.to_numpy(dtype=np.float64))
    expression = log_normalize(counts, counts.var_names.get_indexer(fitted.genes))
    return order_factors(effects, latent, fitted.genes, expression)


def associate_factors(
    latent: pd.DataFrame,
    factor_variance: pd.DataFrame,
    covariates: pd.DataFrame,
    keys: Keys,
    options: FactorOptions,
) -> pd.DataFrame:
    """Test every active factor, signed and in order, against every covariate; see :func:`associate_latent`.

    What the decoder does not use is left out: the encoder's faint echoes of other dimensions say nothing.
    """
    active = factor_variance[factor_variance["active"]]
    factors = latent[active["dimension"].tolist()] * active["sign"].to_numpy()
    return associate_latent(factors.set_axis(active["factor"], axis=1), covariates, keys, options)


def associate_latent(
    latent: pd.DataFrame, covariates: pd.DataFrame, keys: Keys, options: FactorOptions
) -> pd.DataFrame:
    """Test every latent dimension against every covariate, on samples where the covariate is theirs.

    Where cells of one sample have different conditions, what differs with the condition is tested on each
    sample's cells of one condition.

    Returns
    -------
    The table of :func:`scvi_downstream.statistics.association.associate` with ``follows``: whether the effect
    reaches ``min_effect`` at ``fdr``.
    """
    covariates = covariates.loc[latent.index]
    samples, parts = covariates.get(keys.sample_key), None
    if samples is not None:
        of_cell = pd.Series(as_categories(samples), index=samples.index)
        parts = split_by_condition(of_cell, covariates.get(keys.condition_key))
    table = associate(latent, covariates, samples, parts)
    follows = (table["p_adjusted"] <= options.fdr) & (table["effect"] >= options.min_effect)
    return table.assign(follows=follows)


def gather_factors(counts: AnnData, **tables: pd.DataFrame) -> pd.DataFrame:
    """Loadings of all models: one row a model, factor and gene.

    Parameters
    ----------
    counts
        For the genes' symbols.
    tables
        ``{model}__loadings`` and ``{model}__factor_variance``.

    Returns
    -------
    ``model``, ``factor``, ``dimension``, ``gene``, ``symbol``, ``loading``, ``direction`` (up or down) and
    ``rank`` within it (1: the largest).
    """
    symbols = (
        counts.var["symbol"] if "symbol" in counts.var else pd.Series(counts.var_names, counts.var_names)
    )
    models = [name.removesuffix("__loadings") for name in tables if name.endswith("__loadings")]
    long = [
        tables[f"{model}__loadings"]
        .melt(var_name="factor", value_name="loading", ignore_index=False)
        .reset_index()
        .assign(model=model)
        .merge(tables[f"{model}__factor_variance"][["factor", "dimension"]], on="factor", how="left")
        for model in models
    ]
    table = pd.concat(long, ignore_index=True)
    table["symbol"] = symbols.reindex(table["gene"]).to_numpy()
    table["direction"] = np.where(table["loading"] >= 0, "up", "down")
    sizes = table["loading"].abs().groupby([table["model"], table["factor"], table["direction"]])
    table["rank"] = sizes.rank(ascending=False, method="first").astype(np.int64)
    columns = ["model", "factor", "dimension", "gene", "symbol", "loading", "direction", "rank"]
    texts = [name for name in columns if name not in ("loading", "rank")]
    return table[columns].astype(dict.fromkeys(texts, "category"))


def gather_associations(**associations: pd.DataFrame) -> pd.DataFrame:
    """Associations of all models, one table; ``p_adjusted`` is within a model and unit."""
    return pd.concat(
        [table.assign(model=model)[["model", *table.columns]] for model, table in associations.items()],
        ignore_index=True,
    )


def summarize_factors(
    factor_associations: pd.DataFrame, primary: str, keys: Keys, options: FactorOptions
) -> dict[str, Any]:
    """Numbers per model, and sentences on what dimensions follow.

    Returns
    -------
    Per model ``n_covariates``, ``n_followed`` and ``one_to_one``: the mean over followed covariates of how far
    the largest effect is above the second largest, as a share of it; and ``sentences``.
    """
    best = strongest(factor_associations)
    factored = factor_associations["dimension"].str.startswith("factor_")
    with_loadings = factor_associations.loc[factored, "model"].unique().tolist()
    numbers: dict[str, Any] = {}
    for model, rows in best.groupby("model", sort=False):
        followed = rows[rows["follows"]]
        gap = (followed["effect"] - followed["second"]) / followed["effect"]
        numbers[str(model)] = {
            "n_covariates": len(rows),
            "n_followed": len(followed),
            "one_to_one": float(gap.mean()) if gap.notna().any() else None,
        }
    return numbers | {"sentences": describe_associations(best, primary, with_loadings, keys, options)}
