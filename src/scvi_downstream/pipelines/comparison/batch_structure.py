"""Do batches lie apart on the uncorrected embedding, beyond chance and beyond biology?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, communities, weighted_graph
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.scoring.resampling import stratified_sample
from scvi_downstream.statistics.testing import exchangeable_share, permute_within

Outcome = Literal[
    "present", "none", "negligible", "composition", "confounded", "ambiguous", "one batch", "no batches"
]
_NOT_NEEDED = ("none", "negligible", "composition", "one batch")
# Of the test. The permutations give p-values down to 0.002.
LEVEL = 0.01
N_PERMUTATIONS = 499
# On simulated counts a shift of every gene by 5 % had an effect of 0.01, by 10 % of 0.1, by 30 % of 0.8.
MIN_EFFECT = 0.05
# Neighbours that are looked at, of a sample of the cells where there are more.
N_NEIGHBORS = 15
_MOST_CELLS = 10_000
# Within clusters, simulated effects on batches of equal composition were 0.99 to 1.03 of those among all cells (0.15 to
# 0.9 where they were so strong that batches became clusters), and mere differences in composition at most 0.51.
_EFFECT_KEPT = 0.75
# Batches alike within clusters differ in composition, unless clusters leave them less room than this share.
_ROOM_KEPT = 0.5

OVERALL = "overall"
# A batch of fewer counted cells is part of the whole, but is not judged by itself.
_FEWEST_CELLS = 20
# Of the Leiden communities that stand for cell types where there are no labels.
_RESOLUTION = 1.0


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

    ``neighbors`` are ``(n_cells, k)`` positions of each cell's nearest others, ``batches`` and ``strata``
    ``(n_cells,)`` codes from 0, ``counted`` masks the cells whose neighbours are looked at; ``names`` are those of
    the batches, by code. Given is ``overall`` first, then each batch with at least 20 counted cells. Westfall & Young
    (1993), Resampling-Based Multiple Testing; Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
    """
    arranged = permute_within(batches, strata, n_permutations, seed)
    nearest = neighbors[counted]
    shares = np.stack(
        [_mean_shares(row[nearest] == row[counted, None], row[counted], len(names)) for row in arranged]
    )
    sizes = np.array([counted.sum(), *np.bincount(batches[counted], minlength=len(names))])
    judged = np.flatnonzero(sizes >= np.minimum(_FEWEST_CELLS, sizes[0]))
    p = _adjust_p(shares[:, judged])
    cells = [OVERALL, *names]
    return [
        _excess(cells[column], int(sizes[column]), shares[:, column], float(value))
        for column, value in zip(judged, p, strict=True)
    ]


def _mean_shares(same: np.ndarray, batches: np.ndarray, n_batches: int) -> np.ndarray:
    """Mean share of neighbours of the same batch: of all cells, then of each batch."""
    by_cell = same.mean(axis=1)
    sums = np.bincount(batches, weights=by_cell, minlength=n_batches)
    return np.append(by_cell.mean(), sums / np.maximum(np.bincount(batches, minlength=n_batches), 1))


def _adjust_p(shares: np.ndarray) -> np.ndarray:
    """Single-step maxT over the columns of ``(1 + n_permutations, n_tests)``, the observed ones first."""
    spread = shares.std(axis=0)
    # the observed arrangement takes part in mean and spread, so that it is one among equals under the null
    scores = (shares - shares.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    largest = scores.max(axis=1)
    return (largest[:, None] >= scores[0] - 1e-9).mean(axis=0)


def _excess(cells: str, n_cells: int, shares: np.ndarray, p: float) -> Excess:
    observed, null = float(shares[0]), shares[1:]
    expected = float(null.mean())
    low, high = map(float, np.percentile(null, (2.5, 97.5)))
    effect = (observed - expected) / (1 - expected) if expected < 1 - 1e-9 else float("nan")
    return Excess(cells, n_cells, observed, expected, low, high, effect, p)


@dataclass(frozen=True)
class Strata:
    """Groups of like cells.

    ``codes`` are ``(n_cells,)`` from 0; ``known`` masks the cells that count: those of unknown label or condition are
    a group of their own; ``words`` say in sentences what a group is.
    """

    codes: np.ndarray
    known: np.ndarray
    words: str


def _group_by_biology(obs: pd.DataFrame, keys: Keys) -> Strata | None:
    """Groups by label and condition, as far as they are known and are not the batch; ``None`` without a label."""
    if not keys.label_key or keys.label_key == keys.batch_key:
        return None
    names = [keys.label_key]
    if keys.condition_key and keys.condition_key not in (keys.label_key, keys.batch_key):
        names.append(keys.condition_key)
    text = obs[names].astype(str)
    known = (text != UNKNOWN).all(axis=1).to_numpy()
    if not known.any():
        return None
    codes = text.where(text != UNKNOWN).groupby(names, dropna=False).ngroup().to_numpy()
    return Strata(codes, known, " and ".join(names))


def _group_by_cluster(neighbors: NeighborsGraph, seed: int) -> Strata:
    """Leiden communities of the uncorrected embedding.

    Where batches are far apart, communities are batches, and nothing can be exchanged within them: a test on
    these strata misses strong effects, and what it finds is real.
    """
    codes = communities(weighted_graph(neighbors.connectivities), _RESOLUTION, seed)
    return Strata(codes, np.ones(len(codes), dtype=bool), "Leiden cluster")


@dataclass(frozen=True)
class Verdict:
    """What the uncorrected embedding says of batches.

    ``excess`` is that of all cells together, then of each batch, empty when nothing could be tested; ``strata`` those
    among which batches were permuted; ``n_cells`` the cells whose neighbours were looked at, ``exchangeable`` the
    share of these whose group holds more than one batch.
    """

    outcome: Outcome
    excess: tuple[Excess, ...] = ()
    strata: Strata | None = None
    n_batches: int = 0
    n_cells: int = 0
    exchangeable: float = float("nan")

    @property
    def needed(self) -> bool | None:
        """Whether correction is needed; ``None`` when the data cannot tell."""
        return True if self.outcome == "present" else False if self.outcome in _NOT_NEEDED else None

    @property
    def overall(self) -> Excess | None:
        """Of all cells together; ``None`` when nothing could be tested."""
        return self.excess[0] if self.excess else None

    @property
    def detectable(self) -> float:
        """Effect on all cells together that chance reaches in 2.5 % of permutations."""
        if self.overall is None:
            return float("nan")
        return (self.overall.expected_high - self.overall.expected) / (1 - self.overall.expected)


def judge(
    neighbors: NeighborsGraph,
    obs: pd.DataFrame,
    keys: Keys,
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> Verdict:
    """Compare batches among the nearest neighbours with batches permuted among like cells.

    Like cells share the label, and the condition where there is one. Without labels, batches are permuted among all
    cells, which also finds differences in composition, and among the cells of each cluster, which misses
    effects as strong as the differences between clusters: only where both agree is there an answer.

    Parameters
    ----------
    neighbors
        Of the uncorrected embedding.
    obs
        The same cells.
    keys
        Names of the columns.
    seed
        Of sample, clusters and permutations.
    n_permutations
        Of the batches.

    Returns
    -------
    The verdict with its numbers.
    """
    if not keys.batch_key:
        return Verdict("no batches")
    obs = obs.loc[neighbors.cells]
    batches = obs[keys.batch_key].astype(str).astype("category")
    n_cells = len(batches)
    if batches.cat.categories.size < 2:
        return Verdict("one batch", n_batches=1, n_cells=n_cells)
    sampled = np.zeros(n_cells, dtype=bool)
    sampled[stratified_sample([batches, obs.get(keys.label_key)], n_cells, _MOST_CELLS, seed)] = True
    test = partial(_test, neighbors, batches, sampled, n_permutations, seed)
    biology = _group_by_biology(obs, keys)
    if biology is not None:
        return test(biology)
    overall = test(Strata(np.zeros(n_cells, dtype=int), np.ones(n_cells, dtype=bool), "all cells"))
    if overall.outcome != "present":
        return overall
    return _separate_composition(test(_group_by_cluster(neighbors, seed)), overall)


def _separate_composition(within: Verdict, overall: Verdict) -> Verdict:
    """Technique, when the structure stays within clusters; composition, when none does; neither, when a part does."""
    inside, among = within.overall, overall.overall
    outcome: Outcome = "ambiguous"
    if inside is not None and among is not None:
        if within.outcome == "present":
            if inside.effect >= _EFFECT_KEPT * among.effect:
                outcome = "present"
        elif 1 - inside.expected >= _ROOM_KEPT * (1 - among.expected):
            outcome = "composition"
    excess = overall.excess if outcome == "ambiguous" else within.excess
    return replace(within, outcome=outcome, excess=excess)


def _test(
    neighbors: NeighborsGraph,
    batches: pd.Series,
    sampled: np.ndarray,
    n_permutations: int,
    seed: int,
    strata: Strata,
) -> Verdict:
    names, codes = list(batches.cat.categories), batches.cat.codes.to_numpy(dtype=np.int64)
    counted = sampled & strata.known
    groups = np.unique(strata.codes[counted], return_inverse=True)[1]
    exchangeable = exchangeable_share(codes[counted], groups)
    n_counted = int(counted.sum())
    if exchangeable == 0:
        return Verdict("confounded", (), strata, len(names), n_counted, 0.0)
    nearest = neighbors.indices[:, 1 : N_NEIGHBORS + 1]
    # only batches of counted cells and of their neighbours matter, which saves permuting millions of cells
    used = np.unique(np.concatenate([np.flatnonzero(counted), nearest[counted].ravel()]))
    place = np.full(len(batches), -1)
    place[used] = np.arange(len(used))
    seen = place[nearest[used]], codes[used], strata.codes[used], counted[used]
    excess = same_batch_excess(*seen, names=names, n_permutations=n_permutations, seed=seed)
    effects = [one.effect for one in excess if one.p <= LEVEL]
    large = any(effect >= MIN_EFFECT for effect in effects)
    outcome: Outcome = "present" if large else "negligible" if effects else "none"
    return Verdict(outcome, tuple(excess), strata, len(names), n_counted, exchangeable)
