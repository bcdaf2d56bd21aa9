"""Is correction needed? The test of batch structure, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.communities import communities, weighted_graph
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.scoring.resampling import stratified_sample
from scvi_downstream.statistics.testing import exchangeable_share, permute_within

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


_RESOLUTION = 1.0


@dataclass(frozen=True)
class Strata:
    """Groups of like cells.

    Attributes
    ----------
    codes
        ``(n_cells,)`` from 0.
    known
        ``(n_cells,)``; cells of unknown label or condition are a group of their own and not counted.
    kind
        Known biology, or clusters of the uncorrected embedding.
    words
        What a group is, for sentences.
    """

    codes: np.ndarray
    known: np.ndarray
    kind: Literal["biology", "clusters"]
    words: str


def of_biology(obs: pd.DataFrame, keys: Keys) -> Strata | None:
    """Groups by label and condition, as far as they are known and are not the batch; ``None`` without a label.

    Parameters
    ----------
    obs
        One row a cell.
    keys
        Names of the columns.
    """
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
    return Strata(codes=codes, known=known, kind="biology", words=" and ".join(names))


def of_clusters(neighbors: NeighborsGraph, seed: int) -> Strata:
    """Leiden communities of the uncorrected embedding.

    Where batches are far apart, communities are batches, and nothing can be exchanged within them: a test on
    these strata misses strong effects, and what it finds is real.

    Parameters
    ----------
    neighbors
        Of the uncorrected embedding.
    seed
        Of the communities.
    """
    codes = communities(weighted_graph(neighbors.connectivities), _RESOLUTION, seed)
    return Strata(codes=codes, known=np.ones(len(codes), dtype=bool), kind="clusters", words="Leiden cluster")


def together(n_cells: int) -> Strata:
    """All cells in one group."""
    return Strata(
        codes=np.zeros(n_cells, dtype=int),
        known=np.ones(n_cells, dtype=bool),
        kind="clusters",
        words="all cells",
    )


Outcome = Literal[
    "present", "none", "negligible", "composition", "confounded", "ambiguous", "one batch", "no batches"
]
_NEEDED: dict[Outcome, bool | None] = {
    "present": True,
    "none": False,
    "negligible": False,
    "composition": False,
    "confounded": None,
    "ambiguous": None,
    "one batch": False,
    "no batches": None,
}
LEVEL = 0.01
# On simulated counts a shift of every gene by 5 % had an effect of 0.01, by 10 % of 0.1, by 30 % of 0.8.
MIN_EFFECT = 0.05
N_PERMUTATIONS = 499
N_NEIGHBORS = 15
_MOST_CELLS = 10_000
# Within clusters, simulated effects on batches of equal composition were 0.99 to 1.03 of those among all cells (0.15 to
# 0.9 where they were so strong that batches became clusters), and mere differences in composition at most 0.51.
_EFFECT_KEPT = 0.75
# Batches alike within clusters differ in composition, unless clusters leave them less room than this share.
_ROOM_KEPT = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the uncorrected embedding says of batches.

    Attributes
    ----------
    outcome
        In a word.
    excess
        Of all cells together, then of each batch; empty when nothing could be tested.
    strata
        Among which batches were permuted.
    n_batches, n_cells
        Batches, and cells whose neighbours were looked at.
    exchangeable
        Share of these whose group holds more than one batch.
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
        return _NEEDED[self.outcome]

    @property
    def overall(self) -> Excess | None:
        """Of all cells together."""
        return next((one for one in self.excess if one.cells == OVERALL), None)

    @property
    def detectable(self) -> float:
        """Effect on all cells together that chance reaches in 2.5 % of permutations."""
        found = self.overall
        return (
            float("nan") if found is None else (found.expected_high - found.expected) / (1 - found.expected)
        )


def judge(
    neighbors: NeighborsGraph,
    obs: pd.DataFrame,
    keys: Keys,
    *,
    seed: int,
    min_effect: float = MIN_EFFECT,
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
    min_effect
        Smallest effect that calls for correction.
    n_permutations
        Of the batches.

    Returns
    -------
    The verdict with its numbers.
    """
    if not keys.batch_key:
        return Verdict("no batches")
    batches = obs.loc[neighbors.cells, keys.batch_key].astype(str).astype("category")
    if batches.cat.categories.size < 2:
        return Verdict("one batch", n_batches=1, n_cells=len(batches))
    obs = obs.loc[neighbors.cells]
    sample = stratified_sample([batches, obs.get(keys.label_key)], len(batches), _MOST_CELLS, seed)

    def test(strata: Strata) -> Verdict:
        return _test(neighbors, batches, strata, sample, min_effect, n_permutations, seed)

    biology = of_biology(obs, keys)
    if biology is not None:
        return test(biology)
    overall = test(together(len(batches)))
    if overall.outcome != "present":
        return overall
    return _told_apart(test(of_clusters(neighbors, seed)), overall)


def _told_apart(within: Verdict, overall: Verdict) -> Verdict:
    """Technique, when the structure stays within clusters; composition, when none does; neither, when a part does."""
    inside, among = within.overall, overall.overall
    if inside is None or among is None:
        outcome: Outcome = "ambiguous"
    elif within.outcome == "present":
        outcome = "present" if inside.effect >= _EFFECT_KEPT * among.effect else "ambiguous"
    else:
        has_room = 1 - inside.expected >= _ROOM_KEPT * (1 - among.expected)
        outcome = "composition" if has_room else "ambiguous"
    return replace(
        within, outcome=outcome, excess=overall.excess if outcome == "ambiguous" else within.excess
    )


def _test(
    neighbors: NeighborsGraph,
    batches: pd.Series,
    strata: Strata,
    sample: np.ndarray,
    min_effect: float,
    n_permutations: int,
    seed: int,
) -> Verdict:
    counted = np.zeros(len(batches), dtype=bool)
    counted[sample] = True
    counted &= strata.known
    names, codes = list(batches.cat.categories), batches.cat.codes.to_numpy(dtype=np.int64)
    exchangeable = exchangeable_share(codes[counted], _renumbered(strata.codes[counted]))
    if exchangeable == 0:
        return Verdict("confounded", (), strata, len(names), int(counted.sum()), 0.0)
    nearest = neighbors.indices[:, 1 : N_NEIGHBORS + 1]
    # only batches of counted cells and of their neighbours matter, which saves permuting millions of cells
    used = np.unique(np.concatenate([np.flatnonzero(counted), nearest[counted].ravel()]))
    place = np.full(len(batches), -1)
    place[used] = np.arange(len(used))
    excess = same_batch_excess(
        place[nearest[used]],
        codes[used],
        strata.codes[used],
        counted[used],
        names=names,
        n_permutations=n_permutations,
        seed=seed,
    )
    return Verdict(
        _outcome(excess, min_effect), tuple(excess), strata, len(names), int(counted.sum()), exchangeable
    )


def _outcome(excess: Sequence[Excess], min_effect: float) -> Outcome:
    beyond_chance = [one for one in excess if one.p <= LEVEL]
    if any(one.effect >= min_effect for one in beyond_chance):
        return "present"
    return "negligible" if beyond_chance else "none"


def _renumbered(codes: np.ndarray) -> np.ndarray:
    return np.unique(codes, return_inverse=True)[1]
