"""The orders of cells side by side: their consensus, and whether they agree with each other and with known time."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.bridges.monocle_r import order_with_monocle
from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, constant_within
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.correlation import fisher_interval, fisher_z
from scvi_downstream.statistics.testing import explained_share

ORDERS = ["dpt_pseudotime", "slingshot_consensus", "graph_pseudotime"]  # What the consensus is over.
# What is compared, where it is there.
EVERY_ORDER = ["pseudotime", "dpt_pseudotime", "slingshot_pseudotime", *ORDERS[1:], "monocle_r_pseudotime"]
OF_R = "R monocle_r_pseudotime"  # Name of R's order among those that are compared.
# Name of the consensus over all of them, where there are several.
ALL_REPRESENTATIONS = "all representations"
MIN_CELLS = 10  # That two orders must share: a correlation of fewer says nothing.
CONFIDENCE = 0.95  # Share of the samples whose interval holds the truth; of all intervals here.
PAIR_COLUMNS = ["first", "second", "spearman", "low", "high", "n", "orientation"]
TIME_COLUMNS = [
    "n", "spearman", "low", "high", "within_batch_spearman", "within_batch_low", "within_batch_high", "n_batches",
]  # fmt: skip
# Share of the variance of time between batches from which the two count as confounded, as in preparation.
LARGE_SHARE = 0.3
# Shuffles of the cells: a share above all of theirs comes about by chance one time in a hundred.
N_SHUFFLES = 99
MIN_SAMPLES = 3  # That have a time each, for an interval over them.
N_BOOTSTRAPS = 200  # Bootstrap samples of the cells: enough for the percentiles of a 95 % interval.


def order_with_monocle_r(
    counts: AnnData, trajectory_start: dict[str, Any], options: TrajectoryOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, str]]:
    """:func:`.order_with_monocle` on the highly variable genes."""
    genes, start = counts.var_names[counts.var["highly_variable"]], trajectory_start["cells"]
    return order_with_monocle(counts, genes, start, seed=seed, timeout=options.monocle_r_timeout)


def join_orders(
    diffusion: pd.DataFrame, slingshot: pd.DataFrame, principal_graph: pd.DataFrame
) -> pd.DataFrame:
    """All orders of one representation by cell, their consensus (``pseudotime``, mean rank) first."""
    joined = diffusion.join([slingshot, principal_graph])
    return pd.concat([consensus_pseudotime(joined[ORDERS]), joined], axis=1)


def join_trajectory(
    orders: pd.DataFrame,
    fates: pd.DataFrame,
    rank_spread: pd.DataFrame,
    monocle_r: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Everything by cell: orders of the primary model, fates, and how far ranks spread over halves of the cells."""
    return orders.join([fates, rank_spread, *([monocle_r] if monocle_r is not None else [])])


def consensus_pseudotime(pseudotimes: pd.DataFrame) -> pd.Series:
    """Mean rank of each cell over the orderings that place it (Borda's count).

    Pseudotimes of different methods have no common unit; ranks have. Errors that methods do not share average out,
    those that they share stay. ``pseudotimes`` has ``n_cells`` rows and a column an ordering, NaN where it does
    not place a cell. The mean is ``(n_cells,)`` in [0, 1], of ranks scaled to [0, 1] among the cells that an
    ordering places; NaN for cells that fewer than half of the orderings place.

    References
    ----------
    Dwork et al. (2001), doi:10.1145/371920.372165.
    """
    ranks = pseudotimes.rank()
    scaled = (ranks - 1) / (ranks.max() - 1).where(lambda most: most > 0)
    placed = scaled.notna().sum(axis=1)
    mean = scaled.mean(axis=1)
    return mean.where(placed >= np.ceil(pseudotimes.shape[1] / 2)).rename("pseudotime")


def compare_orders(**orders: pd.DataFrame) -> pd.DataFrame:
    """:func:`rank_agreement` of all ``orders`` by cell of all representations."""
    named = [table.filter(EVERY_ORDER).add_prefix(f"{name} ") for name, table in orders.items()]
    return rank_agreement(pd.concat(named, axis=1))


def rank_agreement(pseudotimes: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every pair of orderings, columns of ``n_cells`` rows; NaN where a cell has no place.

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
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Spearman's correlation over the cells that both order; a row of :func:`rank_agreement`."""
    from scipy import stats

    both = np.isfinite(first) & np.isfinite(second)
    n = int(both.sum())
    first, second = first[both], second[both]
    if n < MIN_CELLS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return dict.fromkeys(("spearman", "low", "high"), np.nan) | {"n": n, "orientation": "unknown"}
    rho = float(stats.spearmanr(first, second).statistic)
    low, high = fisher_interval(rho, np.sqrt((1 + rho**2 / 2) / (n - 3)))
    orientation = "same" if low > 0 else "opposite" if high < 0 else "unrelated"
    return {"spearman": rho, "low": float(low), "high": float(high), "n": n, "orientation": orientation}


def agreement_matrix(agreement: pd.DataFrame) -> pd.DataFrame:
    """Symmetric matrix of ``spearman`` of :func:`rank_agreement`, with ones on the diagonal."""
    names = list(dict.fromkeys([*agreement["first"], *agreement["second"]]))
    upper = agreement.pivot_table(index="first", columns="second", values="spearman", dropna=False)
    upper = upper.reindex(index=names, columns=names).rename_axis(index=None, columns=None)
    return upper.fillna(upper.T).where(~np.eye(len(names), dtype=bool), 1.0)


def compare_with_time(
    counts: AnnData, keys: Keys, options: TrajectoryOptions, seed: int, **orders: pd.DataFrame
) -> pd.DataFrame:
    """Rank correlation of every order with known time, over all cells and within batches.

    obs of the counts holds time, batch and sample, which ``options`` and ``keys`` name; ``seed`` is that of the
    bootstrap. One row a representation and order, as of :func:`time_agreement`, the highest first; of several
    representations also the consensus of all.
    """
    time = known_time(counts.obs, str(options.time_key))
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    samples = counts.obs[keys.sample_key] if keys.sample_key else None
    every = {name: table.loc[counts.obs_names].filter(EVERY_ORDER) for name, table in orders.items()}
    basic = [table[table.columns.intersection(ORDERS)] for table in every.values()]
    basic = [table for table in basic if not table.empty]  # R's order is none of a representation
    if len(basic) > 1:
        joined = pd.concat(basic, axis=1, keys=range(len(basic)))
        every[ALL_REPRESENTATIONS] = consensus_pseudotime(joined).to_frame()
    tables = {name: time_agreement(table, time, batches, samples, seed=seed) for name, table in every.items()}
    table = pd.concat(tables, names=["representation"]).reset_index("representation")
    return table.sort_values("spearman", ascending=False, kind="stable", ignore_index=True)


def time_agreement(
    pseudotimes: pd.DataFrame,
    time: pd.Series,
    batches: pd.Series | None = None,
    samples: pd.Series | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman's correlation of each pseudotime with known time, over all cells and within batches.

    Within batches, ranks are taken in each batch: what is left is the order of cells that were handled together,
    which a difference between batches cannot give. Both intervals are percentiles over bootstrap samples of cells
    (drawn within batches, if there are any), the pseudotime held fixed: they do not contain the uncertainty of
    learning it. Where each of the ``samples`` has one time, whole samples are drawn, and the interval is that of t on
    Fisher's scale with the spread over these draws: thousands of cells of eight samples have eight times.
    ``pseudotimes`` are ``n_cells`` × methods, ``time``, ``batches`` and ``samples`` of the same cells; NaN where one is
    not known.

    Returns
    -------
    One row a method: ``method``, ``n`` cells with both, ``spearman`` with ``low`` and ``high`` (95 %),
    ``within_batch_spearman`` with ``within_batch_low`` and ``within_batch_high``, and ``n_batches`` in which both vary.
    NaN where fewer than 10 cells have both, or nothing varies; the ends also where whole samples are fewer than 3.
    """
    if not pseudotimes.index.equals(time.index):
        raise ValueError("pseudotimes and time must have the same cells in the same order")
    hours, strata = time.to_numpy(np.float64), np.zeros(len(time), dtype=np.int64)
    if batches is not None:
        strata = np.asarray(as_categories(batches.reindex(time.index)).codes, dtype=np.int64)
        strata = np.where(strata < 0, strata.max() + 1, strata)
    drawn = None
    if samples is not None and constant_within(time, samples.reindex(time.index)):
        drawn = np.asarray(as_categories(samples.reindex(time.index)).codes, dtype=np.int64)
    rows = []
    for method in track(pseudotimes.columns, "Bootstrap of agreement with time", pseudotimes.shape[1]):
        order = pseudotimes[method].to_numpy(np.float64)
        both = np.isfinite(order) & np.isfinite(hours) & (drawn is None or drawn >= 0)
        units = None if drawn is None else drawn[both]
        row = _correlate_with_time(
            order[both], hours[both], strata[both], units, seed, within=batches is not None
        )
        rows.append({"method": str(method)} | row)
    return pd.DataFrame(rows).astype({"n": np.int64, "n_batches": np.int64})


def _correlate_with_time(
    x: np.ndarray, y: np.ndarray, strata: np.ndarray, units: np.ndarray | None, seed: int, *, within: bool
) -> dict[str, float]:
    """A row of :func:`time_agreement` without its method; ``units`` are what is drawn, ``None``: cells in strata."""
    row: dict[str, float] = dict.fromkeys(TIME_COLUMNS, np.nan) | {"n": len(x), "n_batches": 0}
    if len(x) < MIN_CELLS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return row
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == code) for code in np.unique(strata)]
    owned = [] if units is None else [np.flatnonzero(units == code) for code in np.unique(units)]
    overall, inside = np.full(N_BOOTSTRAPS, np.nan), np.full(N_BOOTSTRAPS, np.nan)
    for i in range(N_BOOTSTRAPS):
        if units is None:
            drawn = np.concatenate([cells[rng.integers(len(cells), size=len(cells))] for cells in members])
        else:
            drawn = np.concatenate([owned[k] for k in rng.integers(len(owned), size=len(owned))])
        overall[i] = _spearman(x[drawn], y[drawn])
        if within:
            inside[i] = _spearman_within(x[drawn], y[drawn], strata[drawn])
    row["spearman"] = _spearman(x, y)
    row["low"], row["high"] = _interval(overall, row["spearman"], len(owned))
    if within:
        row["within_batch_spearman"] = _spearman_within(x, y, strata)
        ends = _interval(inside, row["within_batch_spearman"], len(owned))
        row["within_batch_low"], row["within_batch_high"] = ends
        row["n_batches"] = sum(np.ptp(x[cells]) > 0 and np.ptp(y[cells]) > 0 for cells in members)
    return row


def _interval(values: np.ndarray, rho: float, n_samples: int) -> tuple[float, float]:
    """Percentiles of the draws of cells, without samples; otherwise by the spread of the draws of ``n_samples``."""
    from scipy.stats import t

    finite = values[np.isfinite(values)]
    if len(finite) == 0 or 0 < n_samples < MIN_SAMPLES:
        return np.nan, np.nan
    if n_samples == 0:
        return tuple(np.quantile(finite, [0.025, 0.975]))
    reach = t.ppf((1 + CONFIDENCE) / 2, n_samples - 2) * fisher_z(finite).std(ddof=1)
    middle = fisher_z(rho)
    return float(np.tanh(middle - reach)), float(np.tanh(middle + reach))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _spearman_within(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> float:
    """``rho`` of :func:`.stratified_spearman`, for one dense column and hundreds of samples."""
    from scipy.stats import rankdata

    centred = []
    for code in np.unique(strata):
        inside = strata == code
        size = int(inside.sum())
        if np.ptp(x[inside]) == 0 or np.ptp(y[inside]) == 0:
            continue
        centred.append((np.stack([rankdata(x[inside]), rankdata(y[inside])]) - (size + 1) / 2) / size)
    if not centred:
        return float("nan")
    joined = np.concatenate(centred, axis=1)
    return float(joined[0] @ joined[1] / np.sqrt((joined[0] @ joined[0]) * (joined[1] @ joined[1])))


def time_explained_by_batch(time: pd.Series, batches: pd.Series) -> float:
    """Share of the variance of known time that lies between batches, in [0, 1]; NaN without two batches or times."""
    known, groups = _known_cells(time, batches)
    if groups.nunique() < 2 or np.ptp(known) == 0:
        return float("nan")
    return explained_share(known, groups)


def confounding_sentences(time: pd.Series, batches: pd.Series, *, corrected: bool) -> list[str]:
    """What it means for a trajectory that batches go together with time; nothing where they do not.

    ``time`` by cell is named, NaN where it is not known; ``batches`` of the same cells have the name of their column;
    ``corrected`` says whether the latent was corrected for the batch.
    """
    share = time_explained_by_batch(time, batches)
    if not share > LARGE_SHARE:
        return []
    known, groups = _known_cells(time, batches)
    rng = np.random.default_rng(0)
    chance = [explained_share(rng.permutation(known), groups) for _ in range(N_SHUFFLES)]
    if share <= max(chance):
        return []  # batches of a few cells explain much by chance
    confounded = (
        f"batch '{batches.name}' explains {share:.0%} of the variance of '{time.name}', so the two are confounded: "
        "what differs between batches may be due to either"
    )
    advice = (
        f"correcting for '{batches.name}' fights the signal: with what separates batches it removes {share:.0%} of "
        f"'{time.name}'; compare with a latent without batch_key and with PCA, and trust what all of them share "
        "and what holds within batches"
        if corrected
        else f"this latent is not corrected for '{batches.name}', so its order may follow technical differences "
        "between batches: compare it with a latent with batch_key, and trust what both share and what holds within "
        "batches"
    )
    return [confounded, advice]


def _known_cells(time: pd.Series, batches: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """Times, and codes of the batches, of the cells of which both are known."""
    groups, hours = as_categories(batches.reindex(time.index)), time.to_numpy(np.float64)
    known = np.isfinite(hours) & ~groups.isna()
    return hours[known], pd.Series(groups.codes[known])
