"""What latent dimensions stand for: how the decoder moves genes with them, and covariates that they follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize, symbols_of
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.samples import find_samples
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass, Tensor
from scvi_downstream.statistics.association import associate

# Cells that effects of a non-linear decoder are measured on: their mean hardly moves with more.
MAX_CELLS = 5000
# Values that are decoded at once: cells times dimensions times genes.
CHUNK_VALUES = 2**24
MIN_SHARE = 1e-4
"""Share of the decoded variance from which the decoder counts as using a dimension."""
FACTOR_COLUMNS = ["model", "factor", "dimension", "gene", "symbol", "loading", "direction", "rank"]


def read_loadings(
    fitted: SavedModel, latent: pd.DataFrame, counts: AnnData, accelerator: Accelerator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes that load on latent factors, and the variance that these explain.

    Parameters
    ----------
    fitted
        Model with a linear decoder, or one that is a sum over dimensions.
    latent, counts, accelerator
        ``(n_cells, n_dimensions)`` posterior means; counts that it was fitted on; where to compute.

    Returns
    -------
    Loadings (genes × ``factor_1`` …) and one row a factor with its dimension, sign and shares of variance; see
    :func:`order_factors`.
    """
    model = fitted.attach(counts, accelerator)
    latent = latent.loc[model.adata.obs_names]
    effects = latent_effects(model, latent.to_numpy(dtype=np.float64))
    expression = log_normalize(counts, counts.var_names.get_indexer(fitted.genes))
    return order_factors(effects, latent, fitted.genes, expression)


@dataclass(frozen=True, eq=False)
class LatentEffects:
    """Effects of latent dimensions on decoded log-expression.

    Expression is decoded as shares of a cell, so only differences between genes have a meaning: log-expression is
    taken relative to its mean over the genes of the cell (centred log-ratio). The effect of a dimension in a cell
    is the decoded log-expression less that with this dimension at its mean over cells.

    Attributes
    ----------
    slopes
        ``(n_genes, n_dimensions)`` straight line through the effects: natural logarithm per standard deviation
        of the dimension.
    variance
        ``(n_dimensions,)`` variance of the effects over cells, summed over genes.
    total
        The same of all dimensions together.
    """

    slopes: np.ndarray
    variance: np.ndarray
    total: float


def latent_effects(model: BaseModelClass, latent: np.ndarray) -> LatentEffects:
    """Effects of a model (``LinearSCVI``, ``DRVI``) whose decoder is linear, or a sum over dimensions, with its cells.

    ``latent`` are ``(n_cells, n_dimensions)`` posterior means.
    """
    if hasattr(model, "get_loadings"):
        return linear_effects(model.get_loadings().to_numpy(dtype=np.float64), latent)
    return _split_effects(model, latent)


def linear_effects(weights: np.ndarray, latent: np.ndarray) -> LatentEffects:
    """Effects of a linear decoder, exact (Svensson et al. 2020, doi:10.1093/bioinformatics/btaa169).

    ``weights`` are ``(n_genes, n_dimensions)`` per unit of the latent, batch normalisation included.
    """
    slopes = np.empty(weights.shape)
    # column by column: their order changes no bit
    for k, column in enumerate(np.ascontiguousarray(weights.T)):
        slopes[:, k] = (column - column.mean()) * np.std(np.ascontiguousarray(latent[:, k], dtype=np.float64))
    variance = np.array([column @ column for column in np.ascontiguousarray(slopes.T)])
    centred = latent - latent.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    scaled = np.divide(centred, spread, out=np.zeros(centred.shape), where=spread > 0)
    correlation = scaled.T @ scaled / len(scaled)
    return LatentEffects(slopes, variance, float(np.sum((slopes.T @ slopes) * correlation)))


def _split_effects(model: Any, latent: np.ndarray) -> LatentEffects:
    """Effects of DRVI's decoder, in which each dimension adds to expression on its own.

    They are measured on at most 5,000 cells, evenly spaced, with the cells' own batches and covariates (Moinfar &
    Theis 2024, doi:10.1101/2024.11.06.622266).
    """
    import torch

    n_cells, n_dimensions = latent.shape
    chosen = np.unique(np.linspace(0, n_cells - 1, min(n_cells, MAX_CELLS)).round().astype(np.intp))
    mean, covariates = latent.mean(axis=0), _covariates(model)
    centred = latent[chosen] - latent[chosen].mean(axis=0, dtype=np.float64)
    sums = _Sums(n_dimensions, model.adata.n_vars)
    size = max(1, CHUNK_VALUES // (n_dimensions * model.adata.n_vars))
    progress = Progress("effects of latent dimensions", len(chosen))
    for start in range(0, len(chosen), size):
        cells = chosen[start : start + size]
        at = np.concatenate([latent[cells], np.broadcast_to(mean, (len(cells), n_dimensions))])
        given = {
            name: None if values is None else np.concatenate([values[cells]] * 2)
            for name, values in covariates.items()
        }
        (decoded,) = model.iterate_on_decoded_latent_samples(z=at, batch_size=len(at), **given)
        with torch.inference_mode():
            splits = decoded["px_unaggregated_params"].double().cpu()
            here, moved = splits[: len(cells)], splits[len(cells) :]
            each, together = split_differences(here, moved, model.module.split_aggregation)
            sums.add(each, together, torch.as_tensor(centred[start : start + size]))
        progress.advance(len(cells))
    return sums.effects(centred.std(axis=0))


def _covariates(model: Any) -> dict[str, np.ndarray | None]:
    """Batch and covariates of all cells under the names of DRVI's arguments; ``None`` where it has none."""
    from scvi import REGISTRY_KEYS

    manager = model.adata_manager
    keys = {
        "batch_values": REGISTRY_KEYS.BATCH_KEY,
        "cat_values": REGISTRY_KEYS.CAT_COVS_KEY,
        "cont_values": REGISTRY_KEYS.CONT_COVS_KEY,
    }
    return {
        name: np.asarray(manager.get_from_registry(key)) if key in manager.data_registry else None
        for name, key in keys.items()
    }


def split_differences(here: Tensor, moved: Tensor, aggregation: str) -> tuple[Tensor, Tensor]:
    """Effects of each dimension ``(n_cells, n_dimensions, n_genes)`` and of all together ``(n_cells, n_genes)``.

    ``here`` and ``moved`` are the decoder's parts at the cells' latents and at the mean latent, which it joins by
    ``aggregation``, ``mean`` or ``logsumexp``.
    """
    import torch

    if aggregation == "mean":
        each = (here - moved) / here.shape[1]
        together = each.sum(dim=1)
    else:
        top = torch.maximum(here, moved).amax(dim=1, keepdim=True)
        parts, replaced = (here - top).exp(), (moved - top).exp()
        whole = parts.sum(dim=1, keepdim=True)
        others = (whole - parts).clamp_(min=0)
        each = whole.log() - (others + replaced).log()
        together = torch.logsumexp(here, dim=1) - torch.logsumexp(moved, dim=1)
    return each - each.mean(dim=-1, keepdim=True), together - together.mean(dim=-1, keepdim=True)


class _Sums:
    """Sums over cells from which slopes and variances come."""

    def __init__(self, n_dimensions: int, n_genes: int) -> None:
        self.n = 0
        self.first, self.second, self.products = np.zeros((3, n_dimensions, n_genes))
        self.all_first, self.all_second = np.zeros((2, n_genes))

    def add(self, each: Tensor, together: Tensor, centred: Tensor) -> None:
        import torch

        self.n += len(each)
        self.first += each.sum(dim=0).numpy()
        self.second += (each**2).sum(dim=0).numpy()
        self.products += torch.einsum("ckg,ck->kg", each, centred).numpy()
        self.all_first += together.sum(dim=0).numpy()
        self.all_second += (together**2).sum(dim=0).numpy()

    def effects(self, spread: np.ndarray) -> LatentEffects:
        products = self.products.T / self.n
        slopes = np.divide(products, spread, out=np.zeros(products.shape), where=spread > 0)
        variance = (self.second / self.n - (self.first / self.n) ** 2).sum(axis=1)
        total = (self.all_second / self.n - (self.all_first / self.n) ** 2).sum()
        return LatentEffects(slopes, np.maximum(variance, 0), float(total))


def order_factors(
    effects: LatentEffects, latent: pd.DataFrame, genes: pd.Index, expression: sparse.csr_matrix
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Loadings and shares of variance of factors.

    Factors are ordered by the variance of their effects on decoded log-expression. The sign of a factor makes the
    sum of the cubes of its loadings positive, so that the heavier tail points upwards; where that sum is zero,
    the largest loading is positive.

    Parameters
    ----------
    effects, latent
        Of the ``n_dimensions`` latent dimensions on ``n_genes`` genes; ``(n_cells, n_dimensions)``.
    genes, expression
        Names of the modelled genes; ``(n_cells, n_genes)`` observed log-normalised expression.

    Returns
    -------
    Loadings, genes × ``factor_1`` …: natural logarithm per standard deviation of the factor, relative to the mean
    gene. And one row a factor: ``dimension``, ``sign``, ``sd`` of the dimension, ``variance_share`` (of the
    variance of decoded log-expression; as factors correlate, the shares need not add up to 1),
    ``unique_share`` (of it, what the other active factors do not predict linearly), ``observed_share`` (of the
    variance of ``expression``, by regression on this factor alone), ``observed_cumulative`` (on it and all
    before), ``active`` (whether the decoder uses it: at least 0.01 % of the decoded variance).
    """
    order = np.argsort(-effects.variance, kind="stable")
    slopes = effects.slopes[:, order]
    signs = np.array([_sign(column) for column in np.ascontiguousarray(slopes.T)])
    names = [f"factor_{i}" for i in range(1, len(order) + 1)]
    values = latent.to_numpy(dtype=np.float64)[:, order]
    centred = values - values.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    share = effects.variance[order] / effects.total if effects.total > 0 else np.zeros(len(order))
    alone, cumulative = _explained_expression(centred, expression)
    columns = {
        "factor": names,
        "dimension": latent.columns[order],
        "sign": signs,
        "sd": spread,
        "variance_share": share,
        "unique_share": share * _unpredicted_share(centred, share >= MIN_SHARE),
        "observed_share": alone,
        "observed_cumulative": cumulative,
        "active": share >= MIN_SHARE,
    }
    loadings = pd.DataFrame(slopes * signs, index=pd.Index(genes, name="gene"), columns=names)
    return loadings, pd.DataFrame(columns)


def _sign(loadings: np.ndarray) -> int:
    cubes = np.sum(loadings**3)
    decisive = cubes if cubes != 0 else loadings[np.argmax(np.abs(loadings))]
    return -1 if decisive < 0 else 1


def _unpredicted_share(centred: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Share of the variance of each column that a linear model of the other active columns leaves."""
    left = np.ones(centred.shape[1])
    for k in range(centred.shape[1]):
        own, others = centred[:, k], centred[:, active & (np.arange(len(active)) != k)]
        if not (own @ own) > 0:
            continue
        residual = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        left[k] = (residual @ residual) / (own @ own)
    return left


def _explained_expression(
    centred: np.ndarray, expression: sparse.csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the variance of expression by each column alone, and by the first, the first two, …"""
    n = len(centred)
    mean = np.asarray(expression.mean(axis=0, dtype=np.float64)).ravel()
    total = float((expression.astype(np.float64).power(2)).sum() - n * (mean @ mean))
    if not total > 0:
        return np.zeros(centred.shape[1]), np.zeros(centred.shape[1])
    size = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, size, out=np.zeros(centred.shape), where=size > 0)
    q, r = np.linalg.qr(unit)
    q = q * (np.abs(np.diag(r)) > 1e-8)
    alone, added = (((expression.T @ directions) ** 2).sum(axis=0) / total for directions in (unit, q))
    return alone, np.cumsum(added)


def gather_factors(counts: AnnData, **tables: pd.DataFrame) -> pd.DataFrame:
    """Loadings of all models: one row a model, factor and gene.

    Parameters
    ----------
    counts, tables
        For the genes' symbols; ``{model}__loadings`` and ``{model}__factor_variance``.

    Returns
    -------
    ``model``, ``factor``, ``dimension``, ``gene``, ``symbol``, ``loading``, ``direction`` (up or down) and
    ``rank`` within it (1: the largest).
    """
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
    table["symbol"] = symbols_of(counts.var).reindex(table["gene"]).to_numpy()
    table["direction"] = np.where(table["loading"] >= 0, "up", "down")
    sizes = table["loading"].abs().groupby([table["model"], table["factor"], table["direction"]])
    table["rank"] = sizes.rank(ascending=False, method="first").astype(np.int64)
    texts = [name for name in FACTOR_COLUMNS if name not in ("loading", "rank")]
    return table[FACTOR_COLUMNS].astype(dict.fromkeys(texts, "category"))


def associate_factors(
    latent: pd.DataFrame,
    factor_variance: pd.DataFrame,
    covariates: pd.DataFrame,
    keys: Replicates,
    options: FactorOptions,
) -> pd.DataFrame:
    """Test every active factor, signed and in order, against every covariate; see :func:`associate_latent`.

    What the decoder does not use is left out: the encoder's faint echoes of other dimensions say nothing.

    Parameters
    ----------
    latent
        ``(n_cells, n_dimensions)`` posterior means.
    factor_variance
        One row a factor: ``factor``, ``dimension``, ``sign``, ``active``.
    covariates, keys, options
        As for :func:`associate_latent`.
    """
    active = factor_variance[factor_variance["active"]]
    factors = latent[active["dimension"].tolist()] * active["sign"].to_numpy()
    return associate_latent(factors.set_axis(active["factor"], axis=1), covariates, keys, options)


def associate_latent(
    latent: pd.DataFrame, covariates: pd.DataFrame, keys: Replicates, options: FactorOptions
) -> pd.DataFrame:
    """Test every latent dimension against every covariate, on samples where the covariate is theirs.

    What varies within the blocks of :func:`~scvi_downstream.cells.samples.find_samples`, but not within samples, such
    as the condition, is tested on samples within blocks.

    Parameters
    ----------
    latent, covariates
        ``(n_cells, n_dimensions)`` posterior means; numbers and categories of the same cells.
    keys, options
        Sample, condition and block; ``min_effect``, ``fdr``.

    Returns
    -------
    The table of :func:`scvi_downstream.statistics.association.associate` with ``follows``: whether the effect
    reaches ``min_effect`` at ``fdr``.
    """
    covariates = covariates.loc[latent.index]
    names = ("sample_key", "condition_key", "batch_key", "block_key")
    constant = [name for name in names if (column := getattr(keys, name)) and column not in covariates]
    samples = find_samples(covariates, keys.model_copy(update=dict.fromkeys(constant)))
    table = associate(latent, covariates, *(samples.levels if samples else ()))
    follows = (table["p_adjusted"] <= options.fdr) & (table["effect"] >= options.min_effect)
    return table.assign(follows=follows)


def gather_associations(**associations: pd.DataFrame) -> pd.DataFrame:
    """Associations of all models, one table; ``p_adjusted`` is within a model and unit."""
    parts = [table.assign(model=model)[["model", *table.columns]] for model, table in associations.items()]
    return pd.concat(parts, ignore_index=True)
