"""Proteins of the nearest cells that have some, for where these follow measured ones better than totalVI's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scvi_downstream.runtime.slow_types import TOTALVI

TOTALVI_ITSELF, IN_PCA, IN_LATENT = "totalvi", "knn_pca", "knn_latent"
CANDIDATES = (TOTALVI_ITSELF, IN_PCA, IN_LATENT)


def score_candidates(protein_imputation: pd.DataFrame) -> pd.Series:
    """Median of Pearson's r over proteins, mean over held-out batches, of each candidate; empty without scores."""
    by_method = (
        protein_imputation.astype({"pearson": float}).groupby(["method", "held_out"])["pearson"].median()
    )
    return by_method.groupby("method").mean().reindex(CANDIDATES).dropna()


def choose_imputation(protein_imputation: pd.DataFrame) -> str:
    """The candidate with the highest score over all proteins and held-out batches; totalVI where there are none."""
    scores = score_candidates(protein_imputation)
    return str(scores.idxmax()) if len(scores) else TOTALVI_ITSELF


def nearest_cells(points: np.ndarray, sources: np.ndarray, cells: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Positions of the nearest source cells of each of the cells, ``(n_chosen, n_neighbors)``.

    ``points`` are ``(n_cells, n_dims)`` coordinates, ``sources`` and ``cells`` ``(n_cells,)`` masks.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(n_neighbors, int(sources.sum()))).fit(points[sources])
    return np.flatnonzero(sources)[search.kneighbors(points[cells], return_distance=False)]


def not_measured(measured: pd.DataFrame) -> Iterator[tuple[str, tuple[str, ...], list[int]]]:
    """Each batch that lacks proteins which others have: its name, the batches that have them, their positions."""
    for batch in measured.index[~measured.all(axis=1)]:
        absent = np.flatnonzero(~measured.loc[batch].to_numpy() & measured.any().to_numpy()).tolist()
        sources = {each: tuple(map(str, measured.index[measured.iloc[:, each]])) for each in absent}
        for source in sorted(set(sources.values())):
            yield str(batch), source, [position for position in absent if sources[position] == source]


def impute_from_neighbors(
    decoded: list[np.ndarray],
    measured: pd.DataFrame,
    proteins: pd.DataFrame,
    batches: pd.Series,
    points: np.ndarray,
    n_neighbors: int,
) -> list[np.ndarray]:
    """Mean, standard deviation and probability of the foreground, of the neighbours where a batch measured nothing.

    The mean of the neighbours' log1p counts is moved to the scale of the denoised values, by each protein's mean and
    standard deviation in the cells that measured it, so that columns compare across batches and correlate with what was
    measured as the neighbours' counts do. The other two are the spread and the mean of the neighbours' own.

    Parameters
    ----------
    decoded
        The three, each ``(n_cells, n_proteins)``, as totalVI decodes them.
    measured
        Whether a batch measured a protein.
    proteins, batches, points
        Counts, batch and coordinates of the cells.
    n_neighbors
        Cells that are averaged.
    """
    mean, sd, foreground = (each.copy() for each in decoded)
    names, logged = batches.astype(str).to_numpy(), np.log1p(proteins.to_numpy(dtype=np.float64))
    denoised = np.log1p(decoded[0])
    for batch, source, absent in not_measured(measured):
        sources, cells = np.isin(names, source), names == batch
        nearest = nearest_cells(points, sources, cells, n_neighbors)
        counted, own = logged[:, absent], denoised[:, absent]
        spread = counted[sources].std(axis=0)
        scale = np.divide(own[sources].std(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
        moved = (counted[nearest].mean(axis=1) - counted[sources].mean(axis=0)) * scale + own[sources].mean(
            axis=0
        )
        chosen = np.ix_(cells, absent)
        mean[chosen] = np.expm1(np.maximum(moved, 0))
        sd[chosen] = decoded[0][:, absent][nearest].std(axis=1)
        foreground[chosen] = decoded[2][:, absent][nearest].mean(axis=1)
    return [mean, sd, foreground]


def coordinates(method: str, model: TOTALVI, pca_latent: pd.DataFrame, cells: pd.Index) -> np.ndarray:
    """Where the neighbours of a candidate are looked for, ``(n_cells, n_dims)``."""
    return pca_latent.loc[cells].to_numpy() if method == IN_PCA else model.get_latent_representation()
