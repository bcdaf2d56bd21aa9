"""Proteins imputed where they are hidden, and how well, beside nearest neighbours."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import measured_by_batch
from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import ResourceMeter, build_and_fit
from scvi_downstream.models.totalvi import TotalviSpec
from scvi_downstream.pipelines.proteins.decoding import decode, require_proteins
from scvi_downstream.pipelines.proteins.neighbors import IN_LATENT, IN_PCA, coordinates, nearest_cells
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.runtime.slow_types import TOTALVI, AnnData
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.statistics.correlation import (
    bootstrap_weights,
    correlation_with_interval,
    percentile_interval,
    weighted_correlation,
)

logger = logging.getLogger(__name__)

HELD_OUT_SUFFIX = " (held out)"
BATCH_COLUMN = "protein_batch"
FEWEST_CELLS = 10
"""Of fewer held-out cells a correlation says nothing."""
_SHARE = 3
"""One in so many cells is held out where there is one batch only."""
MEASURED = "measured"
METHODS = ("totalvi", "totalvi_foreground", "knn_pca", "knn_latent", "mean")
_NUMBERS = (
    "pearson", "pearson_lower", "pearson_upper", "spearman", "spearman_lower", "spearman_upper",
    "minus_knn", "minus_knn_lower", "minus_knn_upper",
)  # fmt: skip
COLUMNS = (
    "held_out", "kind", "protein", "method", "n_cells",
    *_NUMBERS, "seconds", "peak_memory_mb",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Cells whose proteins are hidden from the model.

    Attributes
    ----------
    name
        Of the batch.
    kind
        ``batch``: a batch that exists. ``random third``: cells of the only batch with proteins that are called a
        batch of their own; there is no batch effect to bridge, so that the score is an upper bound.
    cells
        ``(n_cells,)`` mask.
    batches
        Batch of every cell, as the model is told.
    sources
        Batches whose proteins the model sees.
    proteins
        Those with counts in the held-out cells and in every source.
    """

    name: str
    kind: Literal["batch", "random third"]
    cells: np.ndarray
    batches: pd.Series
    sources: tuple[str, ...]
    proteins: pd.Index


def choose_held_out(counts: AnnData, keys: Keys, options: ProteinsOptions, seed: int) -> list[HeldOut]:
    """The batches with proteins and fewest cells; with one such batch, a random third of its cells.

    At most ``max_held_out_batches``; none where there are too few cells.
    """
    if options.max_held_out_batches == 0:
        return []
    proteins = counts.obsm[PROTEIN_KEY]
    batches = pd.Series("all cells", index=counts.obs_names)
    if keys.batch_key:
        batches = counts.obs[keys.batch_key].astype(str)
    measured = measured_by_batch(proteins, batches)
    sizes = batches.value_counts()
    with_any = [str(batch) for batch in measured.index[measured.any(axis=1)]]
    if len(with_any) == 1:
        return _random_third(batches, with_any[0], measured, seed)
    chosen = []
    for batch in sorted(with_any, key=lambda name: (sizes[name], name)):
        sources = tuple(other for other in with_any if other != batch)
        seen = measured.loc[list(sources)].all() & measured.loc[batch]
        if sizes[batch] >= FEWEST_CELLS and seen.any():
            cells, told = (batches == batch).to_numpy(), batches.astype("category")
            chosen.append(HeldOut(batch, "batch", cells, told, sources, proteins.columns[seen]))
    return chosen[: options.max_held_out_batches]


def _random_third(batches: pd.Series, batch: str, measured: pd.DataFrame, seed: int) -> list[HeldOut]:
    inside = np.flatnonzero((batches == batch).to_numpy())
    if len(inside) < _SHARE * FEWEST_CELLS:
        return []
    drawn = np.sort(np.random.default_rng(seed).choice(inside, len(inside) // _SHARE, replace=False))
    cells = np.zeros(len(batches), dtype=bool)
    cells[drawn] = True
    told = batches.mask(cells, batch + HELD_OUT_SUFFIX).astype("category")
    return [HeldOut(batch, "random third", cells, told, (batch,), measured.columns[measured.loc[batch]])]


def masked_counts(counts: AnnData, held_out: HeldOut) -> AnnData:
    """Copy of the modelled genes of all cells, with the obs column ``protein_batch``.

    Proteins of the cells held out become zero, which totalVI takes as not measured.
    """
    genes = counts[:, counts.var["highly_variable"].to_numpy()].copy()
    genes.obs[BATCH_COLUMN] = held_out.batches.to_numpy()
    genes.obs[BATCH_COLUMN] = genes.obs[BATCH_COLUMN].astype("category")
    hidden = genes.obsm[PROTEIN_KEY].copy()
    hidden.loc[held_out.cells] = 0
    # what only the held-out cells have would be missing everywhere
    genes.obsm[PROTEIN_KEY] = hidden[held_out.proteins]
    return genes


def score_protein_imputation(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    spec: dict[str, Any],
    keys: Keys,
    options: ProteinsOptions,
    seed: int,
    accelerator: str,
    checkpoint: CheckpointStore,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hide the proteins of a batch, train again, and compare what is imputed with what was measured.

    Parameters
    ----------
    counts, pca_latent
        With ``obsm["protein_expression"]``; principal components of the log-normalised RNA, ``n_cells`` rows.
    spec
        Of the model, trained with its own options.
    keys, options
        Batch; number of held-out batches, draws, neighbours and bootstrap samples.
    seed, accelerator, checkpoint
        Of the training.

    Returns
    -------
    Scores, one row a held-out batch, protein and method; and the values, one row a held-out cell and protein:
    ``held_out``, ``cell``, ``protein``, ``measured`` and one column a method, all log1p of counts. ``totalvi`` is the
    expected count with background, ``totalvi_foreground`` without, ``knn_*`` the mean over the nearest cells with
    proteins in the principal components or in the model's latent, ``mean`` that of all of these cells (constant, and
    so correlated with nothing). ``minus_knn`` is the difference of Pearson's r to ``knn_pca``, with a paired interval.

    Raises
    ------
    InputError
        The model is not one of proteins, or there are none.
    """
    model_spec = parse_spec(spec)
    require_proteins(model_spec.family, counts)
    if isinstance(model_spec, TotalviSpec):  # else the hidden zeros would be learnt as measured ones
        model_spec = model_spec.model_copy(update={"override_missing_proteins": False})
    scores = [pd.DataFrame(columns=list(COLUMNS))]
    values = [pd.DataFrame(columns=["held_out", "cell", "protein", MEASURED, *METHODS])]
    for held_out in choose_held_out(counts, keys, options, seed):
        logger.info(
            "imputation of proteins: hiding %d proteins of %d cells (%s '%s')",
            len(held_out.proteins), int(held_out.cells.sum()), held_out.kind, held_out.name,
        )  # fmt: skip
        with ResourceMeter() as meter:
            start = time.perf_counter()
            masked = masked_counts(counts, held_out)
            own_keys = keys.model_copy(update={"batch_key": BATCH_COLUMN})
            fitted = build_and_fit(
                masked, model_spec, own_keys, seed=seed, accelerator=accelerator, checkpoints=checkpoint
            )
            predicted = _impute(fitted.model, counts, pca_latent, held_out, options, seed)
            seconds = time.perf_counter() - start
        table = score_predictions(predicted, options.n_bootstrap, seed)
        table = table.assign(held_out=held_out.name, kind=held_out.kind)
        table = table.assign(seconds=seconds, peak_memory_mb=meter.peak_memory_mb)
        scores.append(table[list(COLUMNS)])
        values.append(_tabulate_values(predicted, held_out))
    by_protein = pd.concat(scores[1:] or scores, ignore_index=True)
    return by_protein, pd.concat(values[1:] or values, ignore_index=True)


def _impute(
    model: TOTALVI,
    counts: AnnData,
    pca_latent: pd.DataFrame,
    held_out: HeldOut,
    options: ProteinsOptions,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Measured and imputed log1p counts of the held-out cells; method → cells × proteins."""
    positions = np.flatnonzero(held_out.cells)
    logged = np.log1p(counts.obsm[PROTEIN_KEY][held_out.proteins].to_numpy(dtype=np.float64))
    sources = held_out.batches.isin(held_out.sources).to_numpy()
    around = (sources, held_out.cells, options.n_neighbors)
    with quiet():
        decoded = decode(
            model, positions, held_out.sources,
            n_samples=options.n_samples, seed=seed, label="imputing hidden proteins",
        )  # fmt: skip
        in_pca, in_latent = (
            logged[nearest_cells(coordinates(method, model, pca_latent, counts.obs_names), *around)].mean(
                axis=1
            )
            for method in (IN_PCA, IN_LATENT)
        )
    arrays = {
        MEASURED: logged[positions],
        "totalvi": np.log1p(decoded.expected),
        "totalvi_foreground": np.log1p(decoded.mean),
        "knn_pca": in_pca,
        "knn_latent": in_latent,
        "mean": np.tile(logged[sources].mean(axis=0), (len(positions), 1)),
    }
    cells, proteins = counts.obs_names[positions], held_out.proteins
    return {name: pd.DataFrame(array, index=cells, columns=proteins) for name, array in arrays.items()}


def score_predictions(predicted: dict[str, pd.DataFrame], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Correlation of every method's values with the measured ones, by protein, with 95 % intervals over cells.

    ``predicted`` holds ``measured`` and the methods: cells × proteins of log1p counts. Bootstrap samples of cells
    are the same for every method.
    """
    from scipy.stats import rankdata

    measured = predicted[MEASURED].to_numpy(dtype=np.float64)
    weights = bootstrap_weights(len(measured), n_bootstrap, seed)
    ranked = rankdata(measured, axis=0)
    baseline = predicted["knn_pca"].to_numpy(dtype=np.float64)
    baseline_point = weighted_correlation(baseline, measured, np.ones((1, len(measured))))[0]
    baseline_samples = weighted_correlation(baseline, measured, weights)
    tables = []
    for method in METHODS:
        values = predicted[method].to_numpy(dtype=np.float64)
        pearson = correlation_with_interval(values, measured, weights)
        spearman = correlation_with_interval(rankdata(values, axis=0), ranked, weights)
        gain = weighted_correlation(values, measured, weights) - baseline_samples
        numbers = [*pearson, *spearman, pearson[0] - baseline_point, *percentile_interval(gain)]
        table = pd.DataFrame(dict(zip(_NUMBERS, numbers, strict=True)))
        if method == "mean":  # a constant is correlated with nothing
            table = table.assign(pearson=0.0, spearman=0.0, minus_knn=-baseline_point)
        names = predicted[MEASURED].columns
        tables.append(table.assign(protein=names, method=method, n_cells=len(measured)))
    return pd.concat(tables, ignore_index=True)


def _tabulate_values(predicted: dict[str, pd.DataFrame], held_out: HeldOut) -> pd.DataFrame:
    measured = predicted[MEASURED]
    n_cells, n_proteins = measured.shape
    table: dict[str, Any] = {
        "held_out": held_out.name,
        "cell": np.repeat(measured.index.to_numpy(), n_proteins),
        "protein": np.tile(measured.columns.to_numpy(), n_cells),
    }
    values = {name: frame.to_numpy().ravel().astype(np.float32) for name, frame in predicted.items()}
    return pd.DataFrame(table | values)
