"""Agreement of two partitions from their contingency tables, many tables at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.weighted import ratio


def contingency(rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted counts of the pairs of two partitions.

    Parameters
    ----------
    rows, columns
        ``(n_cells,)`` codes from 0.
    weights
        ``(n_draws, n_cells)``.

    Returns
    -------
    ``(n_draws, n_rows, n_columns)``.
    """
    n_cells, n_rows, n_columns = len(rows), int(rows.max()) + 1, int(columns.max()) + 1
    members = sparse.csr_array(
        (np.ones(n_cells), rows * n_columns + columns, np.arange(n_cells + 1)),
        shape=(n_cells, n_rows * n_columns),
    )
    return np.asarray(weights @ members).reshape(-1, n_rows, n_columns)


def adjusted_rand_index(tables: np.ndarray) -> np.ndarray:
    """Adjusted Rand index, as :func:`sklearn.metrics.adjusted_rand_score`.

    Parameters
    ----------
    tables
        ``(n_draws, n_rows, n_columns)`` contingency tables.

    Returns
    -------
    ``(n_draws,)``, 1 for equal partitions, about 0 for independent ones.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075.
    """
    total = tables.sum(axis=(1, 2))
    together = np.square(tables).sum(axis=(1, 2))
    in_rows = np.square(tables.sum(axis=2)).sum(axis=1)
    in_columns = np.square(tables.sum(axis=1)).sum(axis=1)
    both, rows_only, columns_only = together - total, in_rows - together, in_columns - together
    neither = np.square(total) - in_rows - in_columns + together
    same = (rows_only == 0) & (columns_only == 0)
    index = ratio(
        2 * (both * neither - rows_only * columns_only),
        (both + rows_only) * (rows_only + neither) + (both + columns_only) * (columns_only + neither),
    )
    return np.where(same, 1.0, index)


def normalised_mutual_information(tables: np.ndarray) -> np.ndarray:
    """Mutual information over the mean entropy, as :func:`sklearn.metrics.normalized_mutual_info_score`.

    Parameters
    ----------
    tables
        ``(n_draws, n_rows, n_columns)`` contingency tables.

    Returns
    -------
    ``(n_draws,)`` in [0, 1]; 1 where both partitions are a single group, 0 where one is.

    References
    ----------
    Vinh, Epps & Bailey (2010), https://jmlr.org/papers/v11/vinh10a.html.
    """
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = _entropy(shares.sum(axis=2)), _entropy(shares.sum(axis=1))
    shared = rows + columns - _entropy(shares.reshape(len(shares), -1))
    shared = np.where(shared > np.finfo(np.float64).eps, shared, 0.0)
    both_single = ((tables.sum(axis=2) > 0).sum(axis=1) == 1) & ((tables.sum(axis=1) > 0).sum(axis=1) == 1)
    normalised = ratio(shared, (rows + columns) / 2)
    return np.where(both_single, 1.0, np.where(shared == 0, 0.0, normalised))


def _entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
