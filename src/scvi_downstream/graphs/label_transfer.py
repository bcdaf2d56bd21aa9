"""Labels of reference cells carried to other cells by their nearest neighbours in one latent space."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress

ROWS_AT_ONCE = 4096


def transfer_labels(
    reference: np.ndarray | pd.DataFrame,
    labels: pd.Series | pd.Categorical,
    query: np.ndarray | pd.DataFrame,
    n_neighbors: int,
    *,
    exclude_self: bool = False,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Probability of each label as the weight that it has among the nearest labelled reference cells.

    Neighbours weigh by a Gaussian kernel ``exp(-d² / 2σ²)`` of their distance. Its width σ is the root mean
    square of the cell's own neighbour distances, as in scArches; unlike there, the weights do not depend on
    the units of the latent.

    Parameters
    ----------
    reference
        ``(n, n_dims)`` latent coordinates.
    labels
        ``(n,)`` categories of the reference cells; cells of a missing label are no neighbours.
    query
        ``(m, n_dims)`` coordinates in the same latent space.
    n_neighbors
        Number of neighbours; at most as many as there are labelled cells.
    exclude_self
        ``query`` holds the cells of ``reference`` in the same order, and none is a neighbour of itself.

    Returns
    -------
    ``(m, n_types)`` probabilities, rows sum to 1, columns are the categories in their order, rows named as
    those of ``query``; ``(m, k)`` Euclidean distances to the labelled neighbours, ascending.

    Raises
    ------
    InputError
        No reference cell is left to take a label from, or coordinates are not finite.

    References
    ----------
    Lotfollahi et al. (2022), doi:10.1038/s41587-021-01001-7.
    """
    from sklearn.neighbors import NearestNeighbors

    categories = pd.Categorical(labels).remove_unused_categories()
    points, wanted = np.asarray(reference, dtype=np.float64), np.asarray(query, dtype=np.float64)
    if not (np.isfinite(points).all() and np.isfinite(wanted).all()):
        raise InputError("the latent holds NaN or infinite values: the model did not converge; fit it again")
    labelled = np.flatnonzero(categories.codes >= 0)
    if len(labelled) <= exclude_self:
        raise InputError(
            f"labels cannot be transferred: {len(labelled)} of {len(points):,} reference cells have one"
        )
    k = min(n_neighbors, len(labelled) - exclude_self)
    own = np.full(len(wanted), -1)
    if exclude_self:
        own[labelled] = np.arange(len(labelled))
    search = NearestNeighbors(n_neighbors=k + exclude_self, algorithm="brute").fit(points[labelled])
    codes = categories.codes[labelled]
    probabilities = np.zeros((len(wanted), len(categories.categories)))
    distances = np.empty((len(wanted), k))
    progress = Progress(f"Searching {k} labelled neighbours of {len(wanted):,} cells", len(wanted))
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        found_distances, found = search.kneighbors(wanted[rows])
        if exclude_self:
            found, found_distances = without_self(found, found_distances, own[rows])
        cells = np.repeat(np.arange(start, start + len(found)), k)
        np.add.at(probabilities, (cells, codes[found].ravel()), gaussian_weights(found_distances).ravel())
        distances[rows] = found_distances
        progress.advance(len(found))
    index = query.index if isinstance(query, pd.DataFrame) else None
    return pd.DataFrame(probabilities, index=index, columns=categories.categories), distances


def gaussian_weights(distances: np.ndarray) -> np.ndarray:
    """Weights of ``(m, k)`` neighbours, each row summing to 1; equal where all distances are 0."""
    mean_square = np.square(distances).mean(axis=1, keepdims=True)
    exponents = np.square(distances) / (2 * np.where(mean_square > 0, mean_square, 1))
    weights = np.exp(-exponents)
    return weights / weights.sum(axis=1, keepdims=True)


def without_self(found: np.ndarray, distances: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest cells and distances without the cell itself, one column fewer; the farthest goes where it is not there.

    ``found`` and ``distances`` are ``(n_cells, k)`` in ascending order of distance, ``own`` ``(n_cells,)`` positions.
    """
    dropped = found == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    shape = (len(found), found.shape[1] - 1)
    return found[~dropped].reshape(shape), distances[~dropped].reshape(shape)
