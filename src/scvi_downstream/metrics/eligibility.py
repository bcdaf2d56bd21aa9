"""Which cells are scored, and which metrics the data allow."""

from __future__ import annotations

import numpy as np
import pandas as pd


def stratified_sample(columns: list[pd.Series | None], n_cells: int, most: int, seed: int) -> np.ndarray:
    """About ``most`` cells, the same share of every combination of categories and at least one of each.

    Parameters
    ----------
    columns
        Categoricals ``(n_cells,)``; ``None`` ones are ignored.
    n_cells
        Number of cells.
    most
        How many to keep.
    seed
        Of the sample.
    """
    if n_cells <= most:
        return np.arange(n_cells)
    frame = pd.DataFrame(
        {i: column.astype(str).to_numpy() for i, column in enumerate(columns) if column is not None}
    )
    strata = (
        frame.groupby(list(frame.columns)).ngroup().to_numpy()
        if frame.shape[1]
        else np.zeros(n_cells, dtype=int)
    )
    shuffled = np.random.default_rng(seed).permutation(n_cells)
    rank = pd.Series(shuffled).groupby(strata[shuffled]).cumcount().to_numpy()
    size = np.bincount(strata)[strata[shuffled]]
    return np.sort(shuffled[rank < np.maximum(1, np.round(size * most / n_cells))])


def why_no_labels(labels: pd.Series | None, labelled: np.ndarray) -> str | None:
    """Reason why nothing can be scored against labels, if there is one."""
    if labels is None:
        return "no label_key"
    if labels.iloc[labelled].nunique() < 2:
        return f"{labels.iloc[labelled].nunique()} label in obs['{labels.name}'], at least 2 are needed"
    return None


def why_no_batches(batches: pd.Series | None, chosen: np.ndarray) -> str | None:
    """Reason why batches cannot be compared, if there is one."""
    if batches is None:
        return "no batch_key"
    if batches.iloc[chosen].nunique() < 2:
        return f"one batch in obs['{batches.name}'], at least 2 are needed"
    return None


def why_not_nested(labels: pd.Series, batches: pd.Series, labelled: np.ndarray) -> str | None:
    """Reason why batches cannot be compared inside labels, if there is one."""
    pairs = pd.crosstab(labels.iloc[labelled].astype(str), batches.iloc[labelled].astype(str))
    mixed = (pairs > 0).sum(axis=1) > 1
    repeated = pairs.max(axis=1) > 1
    return None if (mixed & repeated).any() else "no label is found in two batches"
