"""One condition against another on samples, and what the same difference would be by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import comb

import numpy as np

from scvi_downstream.parameters.samples import SamplesOptions

from .design import SampleDesign

FEWEST_SAMPLES = 4
FEWEST_OF_CONDITION = 2


@dataclass(frozen=True, eq=False)
class Contrast:
    """Samples of a condition against those of the reference, observed and with conditions permuted.

    Attributes
    ----------
    samples
        ``(n_used,)`` codes of the samples that enter.
    treated
        ``(n_permutations, n_used)`` whether a sample counts as of the condition; the first row is what was observed.
    blocks
        ``(n_used,)`` codes of the pairs; all 0 without pairs.
    complete
        Whether these are all permutations that there are.
    """

    samples: np.ndarray
    treated: np.ndarray
    blocks: np.ndarray
    complete: bool

    @property
    def n_blocks(self) -> int:
        """Number of pairs; 1 without."""
        return len(np.unique(self.blocks))

    @property
    def smallest_p(self) -> float:
        """The p-value of the largest possible statistic; an exchange of the two conditions gives it once more."""
        first = self.treated[0]
        same = (self.treated == first).all(axis=1) | (self.treated == ~first).all(axis=1)
        return float(same.mean())

    def means(self, permutation: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``(n_used,)`` of the samples of the condition and of those of the reference, each of sum 1."""
        treated = self.treated[permutation : permutation + 1]
        return self._share(treated)[0], self._share(~treated)[0]

    def weights(self) -> np.ndarray:
        """``(n_permutations, n_used)`` weights of the difference of means, within pairs where there are some."""
        return self._share(self.treated) - self._share(~self.treated)

    def _share(self, chosen: np.ndarray) -> np.ndarray:
        shares = np.zeros(chosen.shape)
        for block in np.unique(self.blocks):
            inside = self.blocks == block
            of_block = chosen[:, inside].astype(np.float64)
            shares[:, inside] = of_block / of_block.sum(axis=1, keepdims=True)
        return shares / self.n_blocks


type Contrasts = dict[tuple[str, str], Contrast | str]
"""By group and condition; a string says why there is none."""


def make_contrasts(design: SampleDesign, options: SamplesOptions, seed: int) -> Contrasts:
    """The contrast of every condition with the reference in every group, of the samples with cells enough in it."""
    return {
        (group, condition): make_contrast(
            design.conditions,
            design.blocks,
            design.supported(g, options),
            condition,
            str(design.reference),
            n_permutations=options.n_permutations,
            seed=seed,
        )
        for g, group in enumerate(design.groups)
        for condition in design.compared
    }


def make_contrast(
    conditions: tuple[str, ...],
    blocks: tuple[str, ...],
    samples: np.ndarray,
    condition: str,
    reference: str,
    *,
    n_permutations: int,
    seed: int,
) -> Contrast | str:
    """A contrast of the given samples, or why there is none.

    Pairs that miss one of the two conditions are left out.

    Parameters
    ----------
    conditions, blocks
        By sample; no blocks: samples do not pair up.
    samples
        Codes of those that may enter.
    condition, reference
        The two conditions.
    n_permutations
        Most permutations; all of them are taken where there are no more.
    seed
        Of random permutations.
    """
    names = np.array(conditions, dtype=object)
    used = samples[np.isin(names[samples], [condition, reference])]
    codes = np.zeros(len(used), dtype=np.int64)
    if blocks:
        codes = np.unique(np.array(blocks, dtype=str)[used], return_inverse=True)[1]
        both = [block for block in np.unique(codes) if len(set(names[used][codes == block])) == 2]
        kept = np.isin(codes, both)
        used, codes = used[kept], codes[kept]
    treated = names[used] == condition
    for name, number in ((condition, int(treated.sum())), (reference, int((~treated).sum()))):
        if number < FEWEST_OF_CONDITION:
            paired = " in pairs" if blocks else ""
            return f"'{name}' has {number} sample{'' if number == 1 else 's'}{paired} with cells enough"
    permuted, complete = permutations_within(treated, codes, n_permutations, seed)
    return Contrast(used, permuted, codes, complete)


def permutations_within(
    treated: np.ndarray, blocks: np.ndarray, most: int, seed: int
) -> tuple[np.ndarray, bool]:
    """Arrangements of a two-valued label over samples, within blocks, the given one first.

    Parameters
    ----------
    treated
        ``(n_samples,)`` the label.
    blocks
        ``(n_samples,)`` codes.
    most
        Most arrangements; with no more of them, each comes once, otherwise they are drawn.
    seed
        Of the draws.

    Returns
    -------
    ``(n_arrangements, n_samples)``, and whether these are all.
    """
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    total = 1
    for inside in members:
        total *= comb(len(inside), int(treated[inside].sum()))
    if total <= most:
        every = np.array(list(_arrangements(treated, members)))
        given = (every == treated).all(axis=1)
        return np.vstack([every[given], every[~given]]), True
    random = np.random.default_rng(seed)
    rows = [treated]
    for _ in range(most - 1):
        row = treated.copy()
        for inside in members:
            row[inside] = random.permutation(treated[inside])
        rows.append(row)
    return np.array(rows), False


def permutation_p(statistics: np.ndarray) -> np.ndarray:
    """Share of arrangements whose statistic is at least that of the first: ``(…, n_permutations)`` → ``(…,)``.

    References
    ----------
    Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
    """
    observed = statistics[..., :1]
    tolerance = 1e-9 * np.abs(observed) + 1e-12
    return (statistics >= observed - tolerance).mean(axis=-1)


def _arrangements(treated: np.ndarray, members: list[np.ndarray]) -> Iterator[np.ndarray]:
    choices = [list(combinations(inside, int(treated[inside].sum()))) for inside in members]
    for chosen in product(*choices):
        row = np.zeros(len(treated), dtype=bool)
        row[[position for part in chosen for position in part]] = True
        yield row
