"""Which samples are compared, within which groups of cells, and which of them form pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.conditions import reference_condition
from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters import UNKNOWN, Keys
from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.samples import constant_within, sample_column
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

ALL_CELLS = "all cells"


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

    @property
    def compared(self) -> tuple[str, ...]:
        """Conditions that are compared with the reference."""
        return tuple(name for name in dict.fromkeys(self.conditions) if name != self.reference)

    @property
    def n_pairs(self) -> int:
        """Number of blocks that hold several conditions."""
        values = list(zip(self.blocks, self.conditions, strict=False))
        return sum(
            len({condition for name, condition in values if name == block}) > 1 for block in set(self.blocks)
        )

    def supported(self, group: int, options: SamplesOptions) -> np.ndarray:
        """Codes of the samples with cells enough in a group."""
        return np.flatnonzero(self.cells[group] >= options.min_cells_per_sample)

    def chosen_cells(self, group: int, most: int, seed: int) -> np.ndarray:
        """Positions of the cells of a group, a sorted sample of them where there are more than ``most``."""
        inside = np.flatnonzero(self.members[group])
        if len(inside) <= most:
            return inside
        return np.sort(np.random.default_rng([seed, group]).choice(inside, most, replace=False))


def sample_design(
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
) -> SampleDesign:
    """Gather samples, conditions, pairs and groups.

    Parameters
    ----------
    counts
        obs holds the study's keys.
    clusters
        Cells × clusterings.
    keys
        Sample, condition and label.
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
    conditions: tuple[str, ...] = ()
    if keys.condition_key:
        conditions = _by_sample(obs[keys.condition_key], of_cell, len(names))
    distinct = list(dict.fromkeys(sorted(conditions)))
    grouping, labels = _grouping(obs, clusters, keys, options)
    sizes = labels.value_counts()
    kept = [
        str(name)
        for name in labels.cat.categories
        if sizes[name] >= options.min_cells_per_group and str(name) != UNKNOWN
    ]
    members = np.vstack([np.ones(len(obs), dtype=bool), *[(labels == name).to_numpy() for name in kept]])
    cells = np.array([np.bincount(of_cell[inside], minlength=len(names)) for inside in members])
    return SampleDesign(
        samples=names,
        of_cell=of_cell,
        conditions=conditions if len(distinct) > 1 else (),
        reference=reference_condition(distinct) if len(distinct) > 1 else None,
        blocks=_blocks(obs, column, of_cell, len(names), keys, options),
        groups=(ALL_CELLS, *kept),
        members=members,
        grouping=grouping,
        cells=cells,
    )


def adjusted_over_groups(table: pd.DataFrame, column: str, fdr: float) -> np.ndarray:
    """p-values corrected over the groups and conditions that can be tested.

    Parameters
    ----------
    table
        One row a group and condition, with ``group``, ``smallest_p`` (the least possible one) and ``column``.
    column
        Of the p-values.
    fdr
        A test whose smallest possible p is above it can find nothing and does not count as one.

    Returns
    -------
    One value a row; NaN where there is no such test. :data:`ALL_CELLS` is a question of its own and stays as it is.
    """
    testable = (table["smallest_p"].astype(np.float64) <= fdr).to_numpy()
    p = np.where(testable, table[column].to_numpy(dtype=np.float64), np.nan)
    parts = (table["group"] != ALL_CELLS).to_numpy()
    p[parts] = benjamini_hochberg(p[parts])
    return p


def _grouping(
    obs: pd.DataFrame, clusters: pd.DataFrame, keys: Keys, options: SamplesOptions
) -> tuple[str, pd.Series]:
    if options.grouping is None and keys.label_key:
        return keys.label_key, pd.Series(as_categories(obs[keys.label_key]), index=obs.index)
    name = options.grouping or "leiden"
    if name not in clusters:
        raise InputError(f"samples.grouping '{name}' is not a clustering{closest(name, clusters.columns)}")
    return name, pd.Series(as_categories(clusters.loc[obs.index, name]), index=obs.index)


def _blocks(
    obs: pd.DataFrame, column: str, of_cell: np.ndarray, n_samples: int, keys: Keys, options: SamplesOptions
) -> tuple[str, ...]:
    name = options.block_key
    if name is None:
        name = keys.sample_key if column != keys.sample_key else None
    elif name not in obs:
        raise InputError(f"samples.block_key '{name}' is not a column of obs{closest(name, obs.columns)}")
    if name is None:
        return ()
    if not constant_within(obs[name], pd.Series(of_cell)):
        raise InputError(
            f"samples.block_key '{name}' has several values within one sample of '{column}'; a block is made of "
            "whole samples, such as the donor of a treated and an untreated one"
        )
    return _by_sample(obs[name], of_cell, n_samples)


def _by_sample(values: pd.Series, of_cell: np.ndarray, n_samples: int) -> tuple[str, ...]:
    first = values.astype(object).astype(str).groupby(of_cell).first()
    return tuple(first.reindex(range(n_samples)))
