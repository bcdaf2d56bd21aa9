"""Bootstrap resamples of the cells, the same ones for every embedding of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

_ENTRIES_AT_ONCE = 4_000_000
_CELLS_CLUSTERED, _FEWEST_DRAWS = 600_000, 30


def strata_of(*columns: np.ndarray) -> np.ndarray:
    """Code of each cell's combination of categories: ``(n_cells,)`` from 0.

    ``columns`` are ``(n_cells,)`` each; at least one.
    """
    frame = pd.DataFrame(dict(enumerate(columns)))
    return frame.groupby(list(frame.columns)).ngroup().to_numpy()


def affordable_draws(wanted: int, n_cells: int) -> int:
    """How many resamples are done of so many cells: fewer than wanted beyond 600,000 drawn in all, but at least 30.

    Every resample is clustered, which takes about 5 µs a cell. Fewer resamples make intervals a little less exact,
    where the larger number of cells makes them narrower.
    """
    return min(wanted, max(_FEWEST_DRAWS, _CELLS_CLUSTERED // n_cells))


def draw_weights(batches: np.ndarray, strata: np.ndarray, n_draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cell is drawn when the cells of every batch are sampled anew with replacement.

    Batches keep their sizes, which are decided in the laboratory; of which types a batch's cells are is part of the
    sample and varies. (Cell types kept at their sizes as well make intervals of ARI, NMI and PCR far too narrow:
    clusters that follow the types have the same contingency table in every resample.) A label that vanished
    from a resample would change what is measured, so that one cell of a stratum that was missed is put back.

    Parameters
    ----------
    batches
        ``(n_cells,)`` codes from 0; all 0 without batches.
    strata
        ``(n_cells,)`` codes from 0 of combinations of label and batch, none of which may vanish.
    n_draws
        Number of resamples.
    seed
        Draw `k` depends on the seed, the batches, the strata and `k` alone.

    Yields
    ------
    ``(n, n_cells)`` float64 whole numbers, a chunk of the draws.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, doi:10.1201/9780429246593.
    """
    n_cells, n_strata = len(batches), int(strata.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, _ENTRIES_AT_ONCE // n_cells)
    for start in range(0, n_draws, at_once):
        n = min(at_once, n_draws - start)
        uniform = rng.random((n, n_cells + n_strata))
        drawn = _members(batches, batches, uniform[:, :n_cells])
        weights = count_by_row(drawn, n_cells).astype(np.float64)
        row, missed = np.nonzero(count_by_row(strata[drawn], n_strata) == 0)
        put_back = _members(strata, np.arange(n_strata), uniform[:, n_cells:])
        weights[row, put_back[row, missed]] = 1
        yield weights


def _members(groups: np.ndarray, wanted: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A random member of each group wanted: ``(n_draws, n_wanted)`` positions."""
    sizes = np.bincount(groups)
    first = np.cumsum(sizes) - sizes
    by_group = np.argsort(groups, kind="stable")
    return by_group[first[wanted] + np.floor(uniform * sizes[wanted]).astype(np.int64)]


def count_by_row(codes: np.ndarray, n_codes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """How often each code from 0, or with which sum of ``weights``, is in each row: ``(n_rows, n_codes)``."""
    shifted = codes + n_codes * np.arange(len(codes))[:, None]
    flat = None if weights is None else weights.ravel()
    return np.bincount(shifted.ravel(), flat, minlength=len(codes) * n_codes).reshape(-1, n_codes)


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
    known = [column.astype(str).to_numpy() for column in columns if column is not None]
    strata = strata_of(*known) if known else np.zeros(n_cells, dtype=int)
    shuffled = np.random.default_rng(seed).permutation(n_cells)
    rank = pd.Series(shuffled).groupby(strata[shuffled]).cumcount().to_numpy()
    size = np.bincount(strata)[strata[shuffled]]
    return np.sort(shuffled[rank < np.maximum(1, np.round(size * most / n_cells))])


def sample_cells(cells: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``most`` of the positions: all as they are, or a random sample in ascending order."""
    return cells if len(cells) <= most else np.sort(rng.choice(cells, most, replace=False))


def why_no_labels(labels: pd.Series | None, labelled: np.ndarray) -> str | None:
    """Reason why nothing can be scored against labels, if there is one."""
    if labels is None:
        return "no label_key"
    n_labels = labels.iloc[labelled].nunique()
    return f"{n_labels} label in obs['{labels.name}'], at least 2 are needed" if n_labels < 2 else None


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


def cells_by_label(labels: np.ndarray) -> list[np.ndarray]:
    """Positions of the cells of each label, in the order of the labels."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of the cells, each repeated as often as its weight says: with weights of one, :func:`numpy.nanmedian`.

    Parameters
    ----------
    values
        ``(n_cells,)``; NaN are left out.
    weights
        ``(n_draws, n_cells)`` whole numbers.

    Returns
    -------
    ``(n_draws,)``; NaN where nothing is left.
    """
    order = np.argsort(values, kind="stable")
    order = order[: len(order) - np.isnan(values).sum()]
    if not len(order):
        return np.full(len(weights), np.nan)
    up_to = np.cumsum(weights[:, order], axis=1)
    total = up_to[:, -1]
    places = [(up_to <= np.floor(rank)[:, None]).sum(axis=1) for rank in ((total - 1) / 2, total / 2)]
    lower, upper = (values[order[np.minimum(place, len(order) - 1)]] for place in places)
    return np.where(total > 0, (lower + upper) / 2, np.nan)


def mean_over_groups(groups: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """Mean over groups, all alike, of the groups' weighted means.

    Parameters
    ----------
    groups
        Positions of a group's cells and their values, both ``(n_own,)``.
    weights
        ``(n_draws, n_cells)``.

    Returns
    -------
    ``(n_draws,)``; NaN without groups, and where a group has no weight.
    """
    if not groups:
        return np.full(len(weights), np.nan)
    own = ((values, weights[:, cells]) for cells, values in groups)
    return np.mean([ratio(drawn @ values, drawn.sum(axis=1)) for values, drawn in own], axis=0)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the divisor is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
