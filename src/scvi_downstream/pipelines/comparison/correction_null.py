"""Do neighbours share a batch more often than batches permuted among like cells do?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scvi_downstream.statistics.permutation import permute_within

OVERALL = "overall"
# A batch of fewer counted cells is part of the whole, but is not judged by itself.
_FEWEST_CELLS = 20


@dataclass(frozen=True)
class Excess:
    """How much more often than expected the neighbours of some cells are of their own batch.

    Attributes
    ----------
    cells
        Whose: ``overall``, or a batch.
    n_cells
        Their number.
    share
        Mean share of their neighbours that are of the same batch.
    expected
        The same under permutation.
    expected_low, expected_high
        2.5 and 97.5 % of the permuted ones.
    effect
        ``(share - expected) / (1 - expected)``: 0 as by chance, 1 batches apart; NaN where no other share is possible.
    p
        Adjusted for the number of such tests.
    """

    cells: str
    n_cells: int
    share: float
    expected: float
    expected_low: float
    expected_high: float
    effect: float
    p: float


def same_batch_excess(
    neighbors: np.ndarray,
    batches: np.ndarray,
    strata: np.ndarray,
    counted: np.ndarray,
    *,
    names: list[str],
    n_permutations: int,
    seed: int,
) -> list[Excess]:
    """Test all cells together, and each batch by itself.

    The null is that a cell's batch says nothing about its place among the cells of its stratum. P-values are those
    of the largest standardised excess (single-step maxT), so that the chance of any false one stays at the level.

    Parameters
    ----------
    neighbors
        ``(n_cells, k)`` positions of each cell's nearest others.
    batches, strata
        ``(n_cells,)`` codes from 0; batches are permuted within strata.
    counted
        ``(n_cells,)`` mask of the cells whose neighbours are looked at.
    names
        Of the batches, by code.
    n_permutations
        The smallest p-value is 1 / (1 + ``n_permutations``).
    seed
        Of the permutations.

    Returns
    -------
    ``overall`` first, then each batch with at least 20 counted cells.

    References
    ----------
    Westfall & Young (1993), Resampling-Based Multiple Testing; Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
    """
    arranged = permute_within(batches, strata, n_permutations, seed)
    nearest = neighbors[counted]
    shares = np.stack(
        [_shares(row[nearest] == row[counted, None], row[counted], len(names)) for row in arranged]
    )
    sizes = np.array([counted.sum(), *np.bincount(batches[counted], minlength=len(names))])
    judged = np.flatnonzero(sizes >= np.minimum(_FEWEST_CELLS, sizes[0]))
    p = _adjusted_p(shares[:, judged])
    cells = [OVERALL, *names]
    return [
        _excess(cells[column], int(sizes[column]), shares[:, column], value)
        for column, value in zip(judged, p, strict=True)
    ]


def _shares(same: np.ndarray, batches: np.ndarray, n_batches: int) -> np.ndarray:
    """Mean share of neighbours of the same batch: of all cells, then of each batch."""
    by_cell = same.mean(axis=1)
    sums = np.bincount(batches, weights=by_cell, minlength=n_batches)
    return np.append(by_cell.mean(), sums / np.maximum(np.bincount(batches, minlength=n_batches), 1))


def _adjusted_p(shares: np.ndarray) -> np.ndarray:
    """Single-step maxT over the columns of ``(1 + n_permutations, n_tests)``, the observed ones first."""
    spread = shares.std(axis=0)
    # the observed arrangement takes part in mean and spread, so that it is one among equals under the null
    scores = (shares - shares.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    largest = scores.max(axis=1)
    return (largest[:, None] >= scores[0] - 1e-9).mean(axis=0)


def _excess(cells: str, n_cells: int, shares: np.ndarray, p: float) -> Excess:
    observed, null = float(shares[0]), shares[1:]
    expected = float(null.mean())
    low, high = np.percentile(null, (2.5, 97.5))
    return Excess(
        cells=cells,
        n_cells=n_cells,
        share=observed,
        expected=expected,
        expected_low=float(low),
        expected_high=float(high),
        effect=(observed - expected) / (1 - expected) if expected < 1 - 1e-9 else float("nan"),
        p=float(p),
    )
