"""k-means with the number of clusters chosen by silhouette."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.runtime.progress import track

MOST_CELLS_FITTED = 10_000
MOST_CELLS_MEASURED = 3_000
STARTS = 5
STRENGTHS = (
    (0.7, "a strong structure"),
    (0.5, "a reasonable structure"),
    (0.25, "a weak structure"),
    (-np.inf, "no substantial structure"),
)
MOST_ITERATIONS = 300


def choose_k(points: np.ndarray, candidates: list[int], seed: int) -> pd.DataFrame:
    """Mean silhouette width and inertia of each number of clusters, on at most 10,000 cells.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    candidates
        Numbers of clusters, from 2 to below the number of cells.
    seed
        Of the sample and of the starts.

    Returns
    -------
    ``k``, ``silhouette`` in [-1, 1] (of at most 3,000 cells), ``inertia`` (squared latent units, of the
    cells fitted) and ``chosen``, which marks the best silhouette.

    References
    ----------
    Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7.
    """
    from sklearn.metrics import pairwise_distances, silhouette_score

    generator = np.random.default_rng(seed)
    fitted = _sample(points, MOST_CELLS_FITTED, generator)
    measured = np.sort(generator.permutation(len(fitted))[:MOST_CELLS_MEASURED])
    distances = pairwise_distances(fitted[measured])
    np.fill_diagonal(distances, 0)
    rows = []
    for k in track(candidates, "Choosing k of k-means", len(candidates)):
        membership, inertia = partition(fitted, k, seed)
        seen = membership[measured]
        n_seen = len(np.unique(seen))
        separable = 2 <= n_seen < len(seen)
        rows.append(
            (k, silhouette_score(distances, seen, metric="precomputed") if separable else np.nan, inertia)
        )
    table = pd.DataFrame(rows, columns=["k", "silhouette", "inertia"])
    best = table["silhouette"].fillna(-1).idxmax() if len(table) else None
    return table.assign(chosen=table.index == best)


def partition(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, float]:
    """Best of several k-means++ starts: membership ``(n_cells,)`` and inertia.

    References
    ----------
    Arthur & Vassilvitskii (2007), SODA, pp. 1027-1035.
    """
    from sklearn.cluster import KMeans

    fit = KMeans(k, n_init=STARTS, max_iter=MOST_ITERATIONS, random_state=seed).fit(points)
    return fit.labels_, float(fit.inertia_)


def _sample(points: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    if len(points) <= most:
        return points
    return points[np.sort(generator.choice(len(points), most, replace=False))]


def describe_choice(tried: pd.DataFrame, k: int) -> dict[str, float | int | str | None]:
    """The chosen ``k``, its silhouette and what that means.

    References
    ----------
    Kaufman & Rousseeuw (1990), doi:10.1002/9780470316801.
    """
    width = tried.loc[tried["k"] == k, "silhouette"]
    if not len(width) or width.isna().all():
        return {
            "k": k,
            "silhouette": None,
            "reason": f"k-means with {k} clusters; its silhouette was not measured.",
        }
    silhouette = float(width.iloc[0])
    strength = next(word for least, word in STRENGTHS if silhouette > least)
    return {
        "k": k,
        "silhouette": silhouette,
        "reason": f"k-means with {k} clusters: mean silhouette {silhouette:.2f}, {strength}.",
    }
