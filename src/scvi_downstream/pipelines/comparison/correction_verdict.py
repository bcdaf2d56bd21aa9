"""Is correction needed? The test of batch structure, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.metrics.eligibility import stratified_sample
from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.parameters import Keys
from scvi_downstream.statistics.permutation import exchangeable_share

from .correction_null import OVERALL, Excess, same_batch_excess
from .correction_strata import Strata, of_biology, of_clusters, together

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
