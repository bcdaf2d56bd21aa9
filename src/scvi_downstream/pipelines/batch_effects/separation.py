"""Do labels stay apart? Each label's recall by nearest neighbours, before and after correction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.neighbors import find_neighbors
from scvi_downstream.parameters import UNKNOWN

from .design import Design, codes

COLUMNS = (
    "label", "stage", "representation", "n_cells", "recall", "low", "high", "change", "change_low",
    "change_high", "vanishes", "merges_into", "merged_share", "main_batch", "main_batch_share",
)  # fmt: skip
# A recall that falls by more than this, its 95 % interval included, is a label that vanishes.
VANISHING_FALL = 0.1
FEWEST_CELLS = 10
# A label with this share of its cells in one batch is confined to it.
CONFINED_SHARE = 0.95
_NEIGHBORS = 15
_REPLICATES = 1000
_INTERVAL = (2.5, 97.5)


def compare_separation(
    embeddings: Mapping[tuple[str, str], np.ndarray], design: Design, *, seed: int
) -> pd.DataFrame:
    """Recall of each label in each embedding, and its change from the first.

    Parameters
    ----------
    embeddings
        (stage, representation) → ``(n_cells, n_dims)``, the uncorrected first.
    design
        Labels and batches of the same cells; cells of unknown label are left out.
    seed
        Of the bootstrap over the cells of a label.

    Returns
    -------
    One row a label and embedding. A label ``vanishes`` when the interval of its change lies below
    ``-VANISHING_FALL``; ``merges_into`` is the label that most of its missed cells are taken for. Empty
    with fewer than two labels.
    """
    if design.labels is None:
        return pd.DataFrame(columns=list(COLUMNS))
    known = np.flatnonzero(design.labels != UNKNOWN)
    labels, batches = design.labels.iloc[known], design.batches.iloc[known]
    names, own = np.unique(labels.to_numpy(dtype=str)), codes(labels)
    if len(names) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    told = {key: label_by_neighbors(points[known], own) for key, points in embeddings.items()}
    before = next(iter(told.values())) == own
    rows = [
        {
            "label": name,
            "stage": stage,
            "representation": representation,
            **_recall(predicted[own == code] == code, before[own == code], seed),
            **_destination(predicted[own == code], code, names),
            **_main_batch(batches[own == code]),
        }
        for code, name in enumerate(names)
        for (stage, representation), predicted in told.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def label_by_neighbors(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label with the most votes of the nearest other cells, each vote divided by the size of its label.

    Rare labels thus count as much as common ones; among equal votes the nearer neighbour decides.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    labels
        ``(n_cells,)`` codes from 0; every code occurs.

    Returns
    -------
    ``(n_cells,)`` codes.
    """
    k = min(_NEIGHBORS, len(points) - 1)
    neighbors = find_neighbors(points, k + 1, exact=True, seed=0)[0][:, 1:]
    sizes = np.bincount(labels)
    cells = np.arange(len(points))[:, None] * len(sizes) + labels[neighbors]
    votes = (1 - 1e-3 * np.arange(k)) / sizes[labels[neighbors]]
    total = np.bincount(cells.ravel(), weights=votes.ravel(), minlength=len(points) * len(sizes))
    return total.reshape(len(points), len(sizes)).argmax(axis=1)


def _recall(found: np.ndarray, before: np.ndarray, seed: int) -> dict[str, float | bool]:
    """Recall and its change with percentile intervals of a bootstrap over the label's cells."""
    n_cells = len(found)
    weights = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), _REPLICATES)
    change = found.astype(float) - before
    low, high = np.percentile(weights @ found / n_cells, _INTERVAL)
    change_low, change_high = np.percentile(weights @ change / n_cells, _INTERVAL)
    return {
        "n_cells": n_cells,
        "recall": float(found.mean()),
        "low": float(low),
        "high": float(high),
        "change": float(change.mean()),
        "change_low": float(change_low),
        "change_high": float(change_high),
        "vanishes": bool(n_cells >= FEWEST_CELLS and change_high < -VANISHING_FALL),
    }


def _destination(predicted: np.ndarray, code: int, names: np.ndarray) -> dict[str, object]:
    missed = np.bincount(predicted[predicted != code], minlength=len(names))
    if not missed.any():
        return {"merges_into": "", "merged_share": 0.0}
    return {"merges_into": names[missed.argmax()], "merged_share": float(missed.max() / len(predicted))}


def _main_batch(batches: pd.Series) -> dict[str, object]:
    shares = batches.value_counts(normalize=True)
    return {"main_batch": str(shares.index[0]), "main_batch_share": float(shares.iloc[0])}
