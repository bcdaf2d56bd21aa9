"""Proteins imputed where they are hidden, and how well, beside nearest neighbours."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import fit, reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.models.resources import ResourceMeter
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.models.totalvi import TotalviSpec
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.proteins import PROTEIN_KEY
from scvi_downstream.statistics.bootstrap_correlation import (
    bootstrap_weights,
    correlation_with_interval,
    weighted_correlation,
)

from .decoding import decode
from .held_out import BATCH_COLUMN, HeldOut, choose_held_out, masked_counts

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
MEASURED = "measured"
METHODS = ("totalvi", "totalvi_foreground", "knn_pca", "knn_latent", "mean")
COLUMNS = (
    "held_out", "kind", "protein", "method", "n_cells",
    "pearson", "pearson_lower", "pearson_upper",
    "spearman", "spearman_lower", "spearman_upper",
    "minus_knn", "minus_knn_lower", "minus_knn_upper", "seconds", "peak_memory_mb",
)  # fmt: skip
_LEVEL = 0.95


def score_imputation(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    spec: ModelSpec,
    keys: Keys,
    options: ProteinsOptions,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hide the proteins of a batch, train again, and compare what is imputed with what was measured.

    Parameters
    ----------
    counts
        With ``obsm["protein_expression"]``.
    pca_latent
        Principal components of the log-normalised RNA, ``n_cells`` rows.
    spec
        Of the model, trained with its own options.
    keys, options
        Of the study.
    seed, accelerator, checkpoints
        Of the training.

    Returns
    -------
    Scores, one row a held-out batch, protein and method; and the values, one row a held-out cell and protein:
    ``held_out``, ``cell``, ``protein``, ``measured`` and one column a method, all log1p of counts. ``totalvi`` is the
    expected count with background, ``totalvi_foreground`` without, ``knn_*`` the mean over the nearest cells with
    proteins in the principal components or in the model's latent, ``mean`` that of all of these cells (constant, and
    so correlated with nothing). ``minus_knn`` is the difference of Pearson's r to ``knn_pca``, with a paired interval.
    """
    scores, values = [], []
    for held_out in choose_held_out(counts, keys, options, seed):
        with ResourceMeter() as meter:
            start = time.perf_counter()
            predicted = _predict(
                counts, pca_latent, spec, held_out, keys, options,
                seed=seed, accelerator=accelerator, checkpoints=checkpoints,
            )  # fmt: skip
            seconds = time.perf_counter() - start
        table = score_predictions(predicted, options.n_bootstrap, seed)
        about = {
            "held_out": held_out.name,
            "kind": held_out.kind,
            "seconds": seconds,
            "peak_memory_mb": meter.peak_memory_mb,
        }
        scores.append(table.assign(**about))
        values.append(_long(predicted, held_out))
    if not scores:
        columns = ["held_out", "cell", "protein", MEASURED, *METHODS]
        return pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(columns=columns)
    return pd.concat(scores, ignore_index=True)[list(COLUMNS)], pd.concat(values, ignore_index=True)


def _predict(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    spec: ModelSpec,
    held_out: HeldOut,
    keys: Keys,
    options: ProteinsOptions,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
) -> dict[str, pd.DataFrame]:
    """Measured and imputed log1p counts of the held-out cells; method → cells × proteins."""
    logger.info(
        "imputation of proteins: hiding %d proteins of %d cells (%s '%s')",
        len(held_out.proteins), int(held_out.cells.sum()), held_out.kind, held_out.name,
    )  # fmt: skip
    genes = masked_counts(counts, held_out)
    told = keys.model_copy(update={"batch_key": BATCH_COLUMN})
    if isinstance(spec, TotalviSpec):  # else the hidden zeros would be learnt as measured ones
        spec = spec.model_copy(update={"override_missing_proteins": False})
    with reproducible(seed), quiet():
        model = spec.build(genes, told)
    fit(model, spec, seed=seed, accelerator=accelerator, checkpoints=checkpoints)
    positions = np.flatnonzero(held_out.cells)
    seen = counts.obsm[PROTEIN_KEY][held_out.proteins].to_numpy(dtype=np.float64)
    with quiet():
        decoded = decode(
            model, positions, held_out.sources,
            n_samples=options.n_samples, seed=seed, label="imputing hidden proteins",
        )  # fmt: skip
        latent = model.get_latent_representation()
    sources = held_out.batches.isin(held_out.sources).to_numpy()
    logged = np.log1p(seen)
    nearest = {
        "knn_pca": pca_latent.loc[counts.obs_names].to_numpy(),
        "knn_latent": latent,
    }
    arrays: dict[str, np.ndarray] = {
        MEASURED: logged[positions],
        "totalvi": np.log1p(decoded.expected),
        "totalvi_foreground": np.log1p(decoded.mean),
        **{
            name: neighbor_means(points, logged, sources, held_out, options.n_neighbors)
            for name, points in nearest.items()
        },
        "mean": np.tile(logged[sources].mean(axis=0), (len(positions), 1)),
    }
    cells = counts.obs_names[positions]
    return {
        name: pd.DataFrame(array, index=cells, columns=held_out.proteins) for name, array in arrays.items()
    }


def neighbor_means(
    points: np.ndarray, logged: np.ndarray, sources: np.ndarray, held_out: HeldOut, n_neighbors: int
) -> np.ndarray:
    """Mean of the proteins of the nearest cells with proteins, for each held-out cell.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)`` coordinates.
    logged
        ``(n_cells, n_proteins)`` log1p counts; those of the held-out cells are not looked at.
    sources
        ``(n_cells,)`` mask of the cells to average.
    held_out
        Which cells to impute.
    n_neighbors
        Cells to average.

    Returns
    -------
    ``(n_held_out, n_proteins)``.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(n_neighbors, int(sources.sum()))).fit(points[sources])
    nearest = search.kneighbors(points[held_out.cells], return_distance=False)
    return logged[sources][nearest].mean(axis=1)


def score_predictions(predicted: dict[str, pd.DataFrame], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Correlation of every method's values with the measured ones, by protein, with 95 % intervals over cells.

    Parameters
    ----------
    predicted
        ``measured`` and the methods: cells × proteins of log1p counts.
    n_bootstrap, seed
        Bootstrap samples of cells, the same for every method.
    """
    from scipy.stats import rankdata

    measured = predicted[MEASURED].to_numpy(dtype=np.float64)
    weights = bootstrap_weights(len(measured), n_bootstrap, seed)
    ranked = rankdata(measured, axis=0)
    baseline = predicted["knn_pca"].to_numpy(dtype=np.float64)
    baseline_point = weighted_correlation(baseline, measured, np.ones((1, len(measured))))[0]
    baseline_samples = weighted_correlation(baseline, measured, weights)
    rows = []
    for method in METHODS:
        values = predicted[method].to_numpy(dtype=np.float64)
        pearson = correlation_with_interval(values, measured, weights, _LEVEL)
        spearman = correlation_with_interval(rankdata(values, axis=0), ranked, weights, _LEVEL)
        difference = weighted_correlation(values, measured, weights) - baseline_samples
        table: dict[str, Any] = {
            "protein": predicted[MEASURED].columns,
            "method": method,
            "n_cells": len(measured),
        }
        for name, numbers in (("pearson", pearson), ("spearman", spearman)):
            table |= dict(zip((name, f"{name}_lower", f"{name}_upper"), numbers, strict=True))
        table["minus_knn"] = pearson[0] - baseline_point
        table |= dict(zip(("minus_knn_lower", "minus_knn_upper"), _interval(difference), strict=True))
        if method == "mean":  # a constant is correlated with nothing
            table |= {"pearson": 0.0, "spearman": 0.0, "minus_knn": -baseline_point}
        rows.append(pd.DataFrame(table))
    return pd.concat(rows, ignore_index=True)


def _interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ends = np.full((2, samples.shape[1]), np.nan)
    known = np.isfinite(samples).any(axis=0)
    if known.any():
        tail = (1 - _LEVEL) / 2
        ends[:, known] = np.nanquantile(samples[:, known], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]


def _long(predicted: dict[str, pd.DataFrame], held_out: HeldOut) -> pd.DataFrame:
    measured = predicted[MEASURED]
    n_cells, n_proteins = measured.shape
    table: dict[str, Any] = {
        "held_out": held_out.name,
        "cell": np.repeat(measured.index.to_numpy(), n_proteins),
        "protein": np.tile(measured.columns.to_numpy(), n_cells),
    }
    values = {name: frame.to_numpy().ravel().astype(np.float32) for name, frame in predicted.items()}
    return pd.DataFrame(table | values)
