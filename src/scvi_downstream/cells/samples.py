"""The samples of a study, which are the replicates of its tests, and the blocks that pair them up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import (
    as_categories,
    constant_within,
    require_whole_samples,
    split_by_condition,
)
from scvi_downstream.runtime.errors import InputError, closest

FEWEST_PAIRS, SHARE_IN_PAIRS = 3, 0.8
"""Complete blocks, and samples in them, from which a column pairs samples up; with fewer it may by chance."""
_NUMBERS_REPLICATES = re.compile(r"(^|[^a-z])rep(licate)?s?([^a-z]|$)", re.IGNORECASE)
"""Columns that count samples anew in every condition, so that equal numbers have nothing in common."""

type Crossing = Literal["pairs", "complete", "partial"]
"""How blocks cross conditions: one sample of each; samples of each; one of several at most."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The replicates of the study.

    Attributes
    ----------
    name, block_name
        What they are called; no block: ``None``.
    of_cell
        Sample of each cell.
    block
        Block of each sample, such as its donor, or ``None``.
    is_found
        Whether the blocks are those of :func:`find_block` rather than of ``block_key``.
    """

    name: str
    of_cell: pd.Series
    block_name: str | None
    block: pd.Series | None
    is_found: bool = False

    @property
    def levels(self) -> list[pd.Series]:
        """The block of each cell, where there are blocks, and its sample."""
        of_cell = self.of_cell.rename(self.name)
        if self.block is None:
            return [of_cell]
        return [of_cell.astype(object).map(self.block.astype(object)).rename(self.block_name), of_cell]

    @property
    def blocks_in_words(self) -> str:
        """``'donor'``, and how to do without it where it was found."""
        found = ' (found in the data; block_key: "" switches it off)' if self.is_found else ""
        return f"'{self.block_name}'{found}"


def find_samples(obs: pd.DataFrame, keys: Replicates) -> Samples | None:
    """The study's samples and their blocks; ``None`` without ``sample_key``.

    Raises
    ------
    InputError
        ``block_key`` is not in obs, or varies within samples.
    """
    block_key = keys.block_key
    if block_key and block_key not in obs:
        raise InputError(f"block_key '{block_key}' is not a column of obs{closest(block_key, obs.columns)}")
    if keys.sample_key is None:
        return None
    name, of_cell = split_samples(obs, keys)
    if block_key is None:
        block_key = find_block(obs, keys)
    if not block_key or block_key == name:
        return Samples(name, of_cell, None, None)
    blocks = pd.Series(as_categories(obs[block_key]), index=obs.index)
    require_whole_samples(blocks, of_cell, f"block_key '{block_key}'", name)
    of_sample = by_group(blocks, of_cell).dropna().rename(block_key)
    return Samples(name, of_cell, block_key, of_sample, keys.block_key is None)


def split_samples(obs: pd.DataFrame, keys: Keys) -> tuple[str, pd.Series]:
    """Name of the samples, and that of each cell.

    Where cells of one sample have different conditions, its cells of each condition are a sample of their own.
    ``sample_key`` is set.
    """
    of_cell = pd.Series(as_categories(obs[keys.sample_key]), index=obs.index)
    parts = split_by_condition(of_cell, obs[keys.condition_key] if keys.condition_key else None)
    if parts is None:
        return str(keys.sample_key), of_cell
    return f"{keys.sample_key} × {keys.condition_key}", parts


def find_block(obs: pd.DataFrame, keys: Keys) -> str | None:
    """The column whose values are the blocks within which conditions are compared, unless the user names another.

    It is ``sample_key`` where its samples hold several conditions; else the column, ``batch_key`` before others, whose
    values hold one sample of every condition, but for a fifth of the samples; else ``batch_key`` where each batch holds
    samples of every condition. None of several columns that pair samples up differently is taken.
    """
    if not keys.sample_key or not keys.condition_key:
        return None
    name, of_cell = split_samples(obs, keys)
    if name != keys.sample_key:
        return keys.sample_key
    return choose_block(obs, keys, crossing_columns(obs, keys, of_cell))


def choose_block(obs: pd.DataFrame, keys: Keys, crossings: Mapping[str, Crossing]) -> str | None:
    """The block among columns of :func:`crossing_columns`, where no sample holds several conditions."""
    if crossings.get(str(keys.batch_key)) == "pairs":
        return keys.batch_key
    pairs = [name for name, crossing in crossings.items() if crossing == "pairs"]
    if pairs and all(_part_alike(obs[pairs[0]], obs[other]) for other in pairs[1:]):
        return pairs[0]
    return keys.batch_key if crossings.get(str(keys.batch_key)) == "complete" else None


def crossing_columns(obs: pd.DataFrame, keys: Keys, of_cell: pd.Series) -> dict[str, Crossing]:
    """The columns, constant within samples, of whose values several hold several conditions, and how they do.

    Labels and measured numbers do not count, nor do conditions of a single sample. ``condition_key`` is set;
    ``of_cell`` is the sample of each cell.
    """
    condition = by_group(pd.Series(as_categories(obs[keys.condition_key]), index=obs.index), of_cell).dropna()
    condition = condition[condition.astype(object).duplicated(keep=False)]
    if condition.nunique() < 2:
        return {}
    first = (~of_cell.duplicated() & of_cell.notna()).to_numpy()
    of_sample = obs[first].set_axis(of_cell[first].astype(str)).reindex(condition.index)
    found: dict[str, Crossing] = {}
    for name in obs.columns:
        values = of_sample[name]
        if name in (keys.label_key, keys.condition_key, keys.sample_key):
            continue
        if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 != 0).any():
            continue
        blocks = as_categories(values)
        if not 2 <= len(blocks.categories) < len(condition):
            continue
        crossing = _crossing(pd.crosstab(blocks, condition.to_numpy()).to_numpy(), len(condition))
        if crossing and constant_within(obs[name], of_cell):
            is_number = crossing == "pairs" and _NUMBERS_REPLICATES.search(str(name))
            found[str(name)] = "complete" if is_number else crossing
    return found


def _crossing(n: np.ndarray, n_samples: int) -> Crossing | None:
    """How ``(n_blocks, n_conditions)`` numbers of samples, of ``n_samples`` with a block or not, cross."""
    complete, single = (n > 0).all(axis=1), bool((n <= 1).all())
    in_pairs = int(n[complete].sum()) >= SHARE_IN_PAIRS * n_samples
    if single and complete.sum() >= FEWEST_PAIRS and in_pairs:
        return "pairs"
    if complete.all() and n.sum() == n_samples:
        return "complete"
    return "partial" if single and ((n > 0).sum(axis=1) > 1).sum() > 1 else None


def _part_alike(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns part the cells in the same way."""
    return constant_within(one, other) and constant_within(other, one)


def by_group(values: pd.Series, groups: pd.Series) -> pd.Series:
    """The one value of each group of cells, as a Series by group name."""
    first = values.groupby(groups.to_numpy(), observed=True).first()
    first.index = first.index.astype(str)
    return first
