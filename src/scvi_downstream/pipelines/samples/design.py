"""Which samples are compared, in which groups of cells, which form pairs, and how conditions are permuted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import as_categories, reference_condition, sample_column
from scvi_downstream.cells.samples import find_samples
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count
from scvi_downstream.scoring.resampling import sample_cells
from scvi_downstream.statistics.comparisons import known_categories
from scvi_downstream.statistics.testing import benjamini_hochberg

ALL_CELLS = "all cells"
FEWEST_SAMPLES = 4
"""Fewer samples are not clustered."""
FEWEST_OF_CONDITION = 2
"""Of fewer samples of a condition nothing is known of how samples differ within it."""


@dataclass(frozen=True, eq=False)
class SampleDesign:
    """Samples, their conditions and pairs, and the groups of cells within which they are compared.

    Attributes
    ----------
    samples
        ``n_samples`` names, in the order of the model.
    of_cell
        ``(n_cells,)`` code of each cell's sample.
    conditions
        ``(n_samples,)`` names; empty where the study has none.
    reference
        Condition that the others are compared with.
    blocks
        ``(n_samples,)`` names of the pairs (donors); empty where samples do not pair up.
    groups
        Names, the first of them :data:`ALL_CELLS`.
    members
        ``(n_groups, n_cells)`` whether a cell is of a group.
    grouping
        obs or cluster column of the groups.
    cells
        ``(n_groups, n_samples)`` number of cells.
    min_cells
        Those from which a sample is compared in a group.
    """

    samples: tuple[str, ...]
    of_cell: np.ndarray
    conditions: tuple[str, ...]
    reference: str | None
    blocks: tuple[str, ...]
    groups: tuple[str, ...]
    members: np.ndarray
    grouping: str
    cells: np.ndarray
    min_cells: int

    @property
    def compared(self) -> tuple[str, ...]:
        """Conditions that are compared with the reference."""
        return tuple(name for name in dict.fromkeys(self.conditions) if name != self.reference)

    @property
    def n_pairs(self) -> int:
        """Number of blocks that hold several conditions."""
        pairs = set(zip(self.blocks, self.conditions, strict=False))
        return sum(n > 1 for n in Counter(block for block, _ in pairs).values())

    def supported(self, group: int) -> np.ndarray:
        """Codes of the samples with cells enough in a group."""
        return np.flatnonzero(self.cells[group] >= self.min_cells)

    def chosen_cells(self, group: int, most: int, seed: int) -> np.ndarray:
        """Positions of the cells of a group, a sorted sample of them where there are more than ``most``."""
        return sample_cells(np.flatnonzero(self.members[group]), most, np.random.default_rng([seed, group]))

    def contrast(
        self, condition: str, samples: np.ndarray, options: SamplesOptions, seed: int
    ) -> Contrast | str:
        """A condition against the reference, of samples by their codes, or why there is none."""
        return make_contrast(
            self.conditions, self.blocks, samples, condition, str(self.reference),
            n_permutations=options.n_permutations, seed=seed,
        )  # fmt: skip


def sample_design(
    counts: AnnData, clusters: pd.DataFrame, keys: Replicates, options: SamplesOptions
) -> SampleDesign:
    """Gather samples, conditions, pairs and groups.

    Parameters
    ----------
    counts, clusters, keys
        obs holds the study's keys; cells × clusterings; sample, condition and label.
    options
        Grouping, pairs, least cells of a group.

    Raises
    ------
    InputError
        An unknown grouping or ``block_key``, or one that varies within samples.
    """
    obs = counts.obs
    column = sample_column(obs, keys)
    samples = as_categories(obs[column])
    of_cell, names = samples.codes.astype(np.int64), tuple(map(str, samples.categories))
    conditions = _by_sample(obs[keys.condition_key], of_cell) if keys.condition_key else ()
    distinct = sorted(set(conditions))
    grouping, labels = _find_grouping(obs, clusters, keys, options)
    sizes = labels.value_counts()
    kept = [name for name in known_categories(labels) if sizes[name] >= options.min_cells_per_group]
    members = np.vstack([np.ones(len(obs), dtype=bool), *[(labels == name).to_numpy() for name in kept]])
    found = find_samples(obs, keys)
    blocks = None if found is None or found.block is None else found.block.reindex(list(names)).astype(object)
    cells = np.array([np.bincount(of_cell[inside], minlength=len(names)) for inside in members])
    return SampleDesign(
        samples=names,
        of_cell=of_cell,
        conditions=conditions if len(distinct) > 1 else (),
        reference=reference_condition(distinct) if len(distinct) > 1 else None,
        blocks=() if blocks is None else tuple(blocks.fillna(blocks.index.to_series()).astype(str)),
        groups=(ALL_CELLS, *kept),
        members=members,
        grouping=grouping,
        cells=cells,
        min_cells=keys.min_cells_per_sample,
    )


def _find_grouping(
    obs: pd.DataFrame, clusters: pd.DataFrame, keys: Replicates, options: SamplesOptions
) -> tuple[str, pd.Series]:
    if options.grouping is None and keys.label_key:
        return keys.label_key, pd.Series(as_categories(obs[keys.label_key]), index=obs.index)
    name = options.grouping or "leiden"
    if name not in clusters:
        raise InputError(f"samples.grouping '{name}' is not a clustering{closest(name, clusters.columns)}")
    return name, pd.Series(as_categories(clusters.loc[obs.index, name]), index=obs.index)


def _by_sample(values: pd.Series, of_cell: np.ndarray) -> tuple[str, ...]:
    first = values.astype(object).astype(str).groupby(of_cell).first()
    return tuple(first[first.index >= 0])  # cells without a sample have the code -1


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
    """

    samples: np.ndarray
    treated: np.ndarray
    blocks: np.ndarray

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

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``(n_used,)`` of the samples of the condition and of those of the reference, each of sum 1."""
        observed = self.treated[:1]
        return self._even_shares(observed)[0], self._even_shares(~observed)[0]

    def weights(self) -> np.ndarray:
        """``(n_permutations, n_used)`` weights of the difference of means, within pairs where there are some."""
        return self._even_shares(self.treated) - self._even_shares(~self.treated)

    def _even_shares(self, chosen: np.ndarray) -> np.ndarray:
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
        (group, condition): design.contrast(condition, design.supported(g), options, seed)
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
    """A contrast of the given samples (codes), or why there is none.

    Pairs that miss one of the two conditions are left out. ``conditions`` and ``blocks`` are by sample; without
    blocks samples do not pair up. All permutations are taken where there are no more than ``n_permutations``.
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
            return f"'{name}' has {count(number, 'sample')}{paired} with cells enough"
    permuted, _ = permutations_within(treated, codes, n_permutations, seed)
    return Contrast(used, permuted, codes)


def permutations_within(
    treated: np.ndarray, blocks: np.ndarray, most: int, seed: int
) -> tuple[np.ndarray, bool]:
    """Arrangements of a two-valued label over samples, within blocks, the given one first; and whether these are all.

    ``treated`` is the ``(n_samples,)`` label, ``blocks`` are codes. With no more than ``most`` arrangements, each
    comes once, otherwise they are drawn.
    """
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    total = prod(comb(len(inside), int(treated[inside].sum())) for inside in members)
    if total <= most:
        every = np.array(list(_all_arrangements(treated, members)))
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


def _all_arrangements(treated: np.ndarray, members: list[np.ndarray]) -> Iterator[np.ndarray]:
    choices = [list(combinations(inside, int(treated[inside].sum()))) for inside in members]
    for chosen in product(*choices):
        row = np.zeros(len(treated), dtype=bool)
        row[[position for part in chosen for position in part]] = True
        yield row


def permutation_p(statistics: np.ndarray) -> np.ndarray:
    """Share of arrangements whose statistic is at least that of the first: ``(…, n_permutations)`` → ``(…,)``.

    References
    ----------
    Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
    """
    observed = statistics[..., :1]
    tolerance = 1e-9 * np.abs(observed) + 1e-12
    return (statistics >= observed - tolerance).mean(axis=-1)


def adjusted_over_groups(table: pd.DataFrame, column: str, fdr: float) -> np.ndarray:
    """p-values in ``column``, corrected over the groups and conditions that can be tested; one a row.

    A test whose ``smallest_p``, the least possible one, is above ``fdr`` can find nothing, does not count as one
    and is NaN. :data:`ALL_CELLS` is a question of its own and stays as it is.
    """
    testable = (table["smallest_p"].astype(np.float64) <= fdr).to_numpy()
    p = np.where(testable, table[column].to_numpy(dtype=np.float64), np.nan)
    parts = (table["group"] != ALL_CELLS).to_numpy()
    p[parts] = benjamini_hochberg(p[parts])
    return p
