"""Known time: how far batches stand for it, and how well each pseudotime follows it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.progress import track
from scvi_downstream.statistics.explained_share import explained_share

LARGE_SHARE = 0.3
"""Share of the variance of time between batches from which the two count as confounded, as in preparation."""
N_BOOTSTRAPS = 200
MIN_CELLS = 10
COLUMNS = [
    "method",
    "n",
    "spearman",
    "low",
    "high",
    "within_batch_spearman",
    "within_batch_low",
    "within_batch_high",
    "n_batches",
]


def time_explained_by_batch(time: pd.Series, batches: pd.Series) -> float:
    """Share of the variance of known time that lies between batches, in [0, 1]; NaN without two batches or times.

    Parameters
    ----------
    time
        By cell; NaN where it is not known.
    batches
        Of the same cells.
    """
    known, groups = _known(time, batches)
    if len(np.unique(groups)) < 2 or np.ptp(known) == 0:
        return float("nan")
    return explained_share(known, pd.Series(groups))


def confounding_sentences(
    time: pd.Series, batches: pd.Series, *, corrected: bool, n_permutations: int = 99, seed: int = 0
) -> list[str]:
    """What it means for a trajectory that batches go together with time; nothing where they do not.

    Parameters
    ----------
    time
        Known time by cell, named; NaN where it is not known.
    batches
        Of the same cells, named.
    corrected
        Whether the latent was corrected for the batch.
    n_permutations
        Shuffles of the cells against which the share is judged.
    seed
        Of the shuffles.
    """
    share = time_explained_by_batch(time, batches)
    if not share > LARGE_SHARE:
        return []
    known, groups = _known(time, batches)
    rng = np.random.default_rng(seed)
    chance = [explained_share(rng.permutation(known), pd.Series(groups)) for _ in range(n_permutations)]
    if share <= max(chance):
        return []  # batches of a few cells explain much by chance
    sentences = [
        f"batch '{batches.name}' explains {share:.0%} of the variance of '{time.name}', so the two are confounded: "
        "what differs between batches may be due to either"
    ]
    if corrected:
        sentences.append(
            f"correcting for '{batches.name}' fights the signal: with what separates batches it removes {share:.0%} of "
            f"'{time.name}'; compare with a latent without batch_key and with PCA, and trust what all of them share "
            "and what holds within batches"
        )
    else:
        sentences.append(
            f"this latent is not corrected for '{batches.name}', so its order may follow technical differences between "
            "batches: compare it with a latent with batch_key, and trust what both share and what holds within batches"
        )
    return sentences


def time_agreement(
    pseudotimes: pd.DataFrame, time: pd.Series, batches: pd.Series | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Spearman's correlation of each pseudotime with known time, over all cells and within batches.

    Within batches, ranks are taken in each batch: what is left is the order of cells that were handled together, which
    a difference between batches cannot give. Both intervals are percentiles over bootstrap samples of cells (drawn
    within batches, if there are any), the pseudotime held fixed: they do not contain the uncertainty of learning it.

    Parameters
    ----------
    pseudotimes
        ``n_cells`` × methods; NaN where a method gives a cell none.
    time
        Known time of the same cells; NaN where it is not known.
    batches
        Batch of the same cells, if known.
    seed
        Of the bootstrap.

    Returns
    -------
    One row a method: ``method``, ``n`` cells with both, ``spearman`` with ``low`` and ``high`` (95 %),
    ``within_batch_spearman`` with ``within_batch_low`` and ``within_batch_high``, and ``n_batches`` in which both vary.
    NaN where fewer than 10 cells have both, or nothing varies.
    """
    if not pseudotimes.index.equals(time.index):
        raise ValueError("pseudotimes and time must have the same cells in the same order")
    rows = [
        _row(str(method), pseudotimes[method], time, batches, seed)
        for method in track(pseudotimes.columns, "Bootstrap of agreement with time", pseudotimes.shape[1])
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": np.int64, "n_batches": np.int64})


def _row(
    method: str, pseudotime: pd.Series, time: pd.Series, batches: pd.Series | None, seed: int
) -> dict[str, object]:
    both = (np.isfinite(pseudotime.to_numpy(np.float64)) & np.isfinite(time.to_numpy(np.float64))).copy()
    strata = np.zeros(len(both), dtype=np.int64)
    if batches is not None:
        strata = np.asarray(as_categories(batches.reindex(time.index)).codes, dtype=np.int64)
        strata = np.where(strata < 0, strata.max() + 1, strata)
    x, y, strata = pseudotime.to_numpy(np.float64)[both], time.to_numpy(np.float64)[both], strata[both]
    row: dict[str, object] = (
        {"method": method, "n": len(x)} | dict.fromkeys(COLUMNS[2:], np.nan) | {"n_batches": 0}
    )
    if len(x) < MIN_CELLS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return row
    rng = np.random.default_rng(seed)
    codes, members = np.unique(strata), [np.flatnonzero(strata == code) for code in np.unique(strata)]
    overall, within = np.empty(N_BOOTSTRAPS), np.empty(N_BOOTSTRAPS)
    for i in range(N_BOOTSTRAPS):
        drawn = np.concatenate([cells[rng.integers(len(cells), size=len(cells))] for cells in members])
        overall[i] = _spearman(x[drawn], y[drawn])
        within[i] = _within(x[drawn], y[drawn], strata[drawn]) if batches is not None else np.nan
    row["spearman"] = _spearman(x, y)
    row["low"], row["high"] = _interval(overall)
    if batches is None:
        return row
    row["within_batch_spearman"] = _within(x, y, strata)
    row["within_batch_low"], row["within_batch_high"] = _interval(within)
    row["n_batches"] = sum(np.ptp(x[strata == code]) > 0 and np.ptp(y[strata == code]) > 0 for code in codes)
    return row


def _interval(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(x), rankdata(y))


def _within(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> float:
    """``rho`` of :func:`.stratified_spearman`, for one dense column and hundreds of samples."""
    from scipy.stats import rankdata

    centred = []
    for code in np.unique(strata):
        inside = strata == code
        size = int(inside.sum())
        if size < 2 or np.ptp(x[inside]) == 0 or np.ptp(y[inside]) == 0:
            continue
        centred.append((np.stack([rankdata(x[inside]), rankdata(y[inside])]) - (size + 1) / 2) / size)
    if not centred:
        return float("nan")
    joined = np.concatenate(centred, axis=1)
    return float(joined[0] @ joined[1] / np.sqrt((joined[0] @ joined[0]) * (joined[1] @ joined[1])))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    a, b = x - x.mean(), y - y.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _known(time: pd.Series, batches: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    groups = as_categories(batches.reindex(time.index))
    known = np.isfinite(time.to_numpy(np.float64)) & ~groups.isna()
    return time.to_numpy(np.float64)[known], np.asarray(groups.codes)[known]
