"""Areas under ROC curves of many classifications at once."""

from __future__ import annotations

import numpy as np


def macro_auc(logits: np.ndarray, arranged: np.ndarray) -> np.ndarray:
    """Macro one-vs-rest AUC of softmax probabilities.

    Parameters
    ----------
    logits
        ``(n_classes, n_arrangements, n_cells)`` linear predictors.
    arranged
        ``(n_arrangements, n_cells)`` class codes.

    Returns
    -------
    ``(n_arrangements,)``; NaN where a class is empty.

    References
    ----------
    Fawcett (2006), doi:10.1016/j.patrec.2005.10.010.
    """
    from scipy.stats import rankdata

    n_classes, n_arrangements, n_cells = logits.shape
    areas = np.empty((n_classes, n_arrangements))
    for row, batches in enumerate(arranged):
        ranks = rankdata(_log_odds(logits[:, row].astype(np.float64)), axis=1)
        inside = batches == np.arange(n_classes)[:, None]
        n_inside = inside.sum(axis=1)
        pairs = n_inside * (n_cells - n_inside)
        above = (ranks * inside).sum(axis=1) - n_inside * (n_inside + 1) / 2
        areas[:, row] = np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)
    return areas.mean(axis=0)


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Of each class against the rest: ordered as the probabilities, but never rounded to 0 or 1."""
    below = logits - logits.max(axis=0)
    relative = np.exp(below)
    first = np.arange(len(logits))[:, None] == logits.argmax(axis=0)
    beaten = np.where(first, 0, relative).sum(
        axis=0
    )  # all but the first, which rounding would lose beside it
    others = np.where(first, beaten, beaten + 1 - relative)
    return below - np.log(np.maximum(others, np.finfo(np.float64).tiny))


def count_auc(counts: np.ndarray, classes: np.ndarray, most: int) -> float:
    """Macro one-vs-rest AUC of whole numbers, ties at half.

    Parameters
    ----------
    counts
        ``(n_cells, n_classes)``, from 0 to ``most``.
    classes
        ``(n_cells,)`` codes; every code occurs.
    most
        The largest count there can be.
    """
    n_classes, width = counts.shape[1], most + 1
    columns = np.arange(n_classes) * width
    everyone = np.bincount((counts + columns).ravel(), minlength=n_classes * width).reshape(-1, width)
    own = counts[np.arange(len(classes)), classes] + classes * width
    inside = np.bincount(own, minlength=n_classes * width).reshape(-1, width)
    outside = everyone - inside
    below = np.cumsum(outside, axis=1) - outside / 2
    return float(((inside * below).sum(axis=1) / (inside.sum(axis=1) * outside.sum(axis=1))).mean())
