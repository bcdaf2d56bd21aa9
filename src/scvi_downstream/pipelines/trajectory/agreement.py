"""Whether orderings of cells agree, with each other and with known time."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.orders import consensus_pseudotime
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.runtime.progress import track
from scvi_downstream.statistics.testing import explained_share

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Any


MIN_CELLS = 10
CONFIDENCE = 0.95
COLUMNS = ["first", "second", "spearman", "low", "high", "n", "orientation"]


def rank_agreement(pseudotimes: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every pair of orderings.

    Parameters
    ----------
    pseudotimes
        ``n_cells`` rows, a column an ordering; NaN where a cell has no place in it.

    Returns
    -------
    One row a pair: ``first``, ``second``, ``spearman``, ``low``, ``high`` (95 %), ``n`` cells that both order,
    ``orientation``: ``same``, ``opposite`` (one runs backwards: the start may be at the wrong end), ``unrelated``
    where the interval holds 0, ``unknown`` with fewer than 10 cells or a constant ordering. Intervals take cells
    as independent, which those of one neighbourhood are not: they are too narrow rather than too wide.

    References
    ----------
    Variance of the interval: Bonett & Wright (2000), doi:10.1007/BF02294183.
    """
    rows = [
        {"first": str(first), "second": str(second)}
        | correlate_ranks(pseudotimes[first].to_numpy(float), pseudotimes[second].to_numpy(float))
        for first, second in combinations(pseudotimes.columns, 2)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement_matrix(agreement: pd.DataFrame, names: list[str] | None = None) -> pd.DataFrame:
    """Symmetric matrix of ``spearman`` with ones on the diagonal.

    Parameters
    ----------
    agreement
        Of :func:`rank_agreement`.
    names
        Orderings, in the order wanted; ``None``: as they come.
    """
    if names is None:
        names = list(dict.fromkeys([*agreement["first"], *agreement["second"]]))
    upper = agreement.pivot_table(index="first", columns="second", values="spearman", dropna=False)
    upper = upper.reindex(index=names, columns=names)
    return (
        upper.fillna(upper.T)
        .where(~np.eye(len(names), dtype=bool), 1.0)
        .rename_axis(index=None, columns=None)
    )


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Spearman's correlation over the cells that both order; a row of :func:`rank_agreement`."""
    from scipy import stats

    both = np.isfinite(first) & np.isfinite(second)
    n = int(both.sum())
    first, second = first[both], second[both]
    if n < MIN_CELLS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return dict.fromkeys(("spearman", "low", "high"), np.nan) | {"n": n, "orientation": "unknown"}
    rho = float(stats.spearmanr(first, second).statistic)
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh(middle - reach), np.tanh(middle + reach)
    orientation = "same" if low > 0 else "opposite" if high < 0 else "unrelated"
    return {"spearman": rho, "low": float(low), "high": float(high), "n": n, "orientation": orientation}


LARGE_SHARE = 0.3
"""Share of the variance of time between batches from which the two count as confounded, as in preparation."""
N_BOOTSTRAPS = 200
CONFOUNDING_COLUMNS = [
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
    return pd.DataFrame(rows, columns=CONFOUNDING_COLUMNS).astype({"n": np.int64, "n_batches": np.int64})


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
        {"method": method, "n": len(x)} | dict.fromkeys(CONFOUNDING_COLUMNS[2:], np.nan) | {"n_batches": 0}
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


ORDERS = ("dpt_pseudotime", "slingshot_consensus", "graph_pseudotime")
"""What the consensus is over."""
EVERY_ORDER = (
    "pseudotime",
    "dpt_pseudotime",
    "slingshot_pseudotime",
    "slingshot_consensus",
    "graph_pseudotime",
)
ALL_REPRESENTATIONS = "all representations"


def compare_orders(**orders: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation between all orders of all representations; see :func:`.agreement.rank_agreement`.

    Parameters
    ----------
    orders
        Orders by cell of each representation.
    """
    columns = {
        f"{name} {order}": table[order] for name, table in orders.items() for order in _orders_in(table)
    }
    return rank_agreement(pd.DataFrame(columns))


def compare_with_time(
    counts: AnnData, keys: Keys, options: TrajectoryOptions, seed: int, **orders: pd.DataFrame
) -> pd.DataFrame:
    """Rank correlation of every order with known time, over all cells and within batches.

    Parameters
    ----------
    counts
        obs holds the time and the batch.
    keys, options
        Name them.
    seed
        Of the bootstrap.
    orders
        Orders by cell of each representation.

    Returns
    -------
    One row a representation and order, the highest first; the last representation is the consensus of all.
    """
    time = known_time(counts.obs, str(options.time_key))
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    every = {name: table.loc[counts.obs_names, list(_orders_in(table))] for name, table in orders.items()}
    basic = [table[[name for name in ORDERS if name in table]] for table in every.values()]
    if len(basic) > 1:
        joined = pd.concat(basic, axis=1, keys=range(len(basic)))
        every[ALL_REPRESENTATIONS] = consensus_pseudotime(joined).to_frame()
    agree = partial(time_agreement, time=time, batches=batches, seed=seed)
    tables = [agree(table).assign(representation=name) for name, table in every.items()]
    joined = pd.concat(tables, ignore_index=True)
    columns = ["representation", *(name for name in joined if name != "representation")]
    return joined[columns].sort_values("spearman", ascending=False, kind="stable", ignore_index=True)


def _orders_in(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in (*EVERY_ORDER, "monocle_r_pseudotime") if name in table)
