"""Bootstrap resamples of the cells, the same ones for every embedding of a study."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

_ENTRIES_AT_ONCE = 4_000_000
_CELLS_CLUSTERED, _FEWEST_DRAWS = 600_000, 50


def strata_of(*columns: np.ndarray) -> np.ndarray:
    """Code of each cell's combination of categories: ``(n_cells,)`` from 0.

    Parameters
    ----------
    columns
        ``(n_cells,)`` each; at least one.
    """
    frame = pd.DataFrame(dict(enumerate(columns)))
    return frame.groupby(list(frame.columns)).ngroup().to_numpy()


def affordable_draws(wanted: int, n_cells: int) -> int:
    """How many resamples are done of so many cells: fewer than wanted beyond 600,000 drawn in all, but at least 50.

    Every resample is clustered, which takes about 5 µs a cell. Fewer resamples make intervals a little less exact,
    where the larger number of cells makes them narrower.

    Parameters
    ----------
    wanted
        At most so many.
    n_cells
        In one resample.
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
        weights = _counts(drawn, n_cells)
        row, missed = np.nonzero(_counts(strata[drawn], n_strata) == 0)
        put_back = _members(strata, np.arange(n_strata), uniform[:, n_cells:])
        weights[row, put_back[row, missed]] = 1
        yield weights


def _members(groups: np.ndarray, wanted: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A random member of each group wanted: ``(n_draws, n_wanted)`` positions."""
    sizes = np.bincount(groups)
    first = np.cumsum(sizes) - sizes
    by_group = np.argsort(groups, kind="stable")
    return by_group[first[wanted] + np.floor(uniform * sizes[wanted]).astype(np.int64)]


def _counts(drawn: np.ndarray, n_codes: int) -> np.ndarray:
    """How often each code is in each row: ``(n_draws, n_codes)``."""
    shifted = drawn + n_codes * np.arange(len(drawn))[:, None]
    return (
        np.bincount(shifted.ravel(), minlength=len(drawn) * n_codes).reshape(-1, n_codes).astype(np.float64)
    )
