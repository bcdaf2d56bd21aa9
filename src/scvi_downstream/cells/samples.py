"""The samples of a study, which are the replicates of its tests, and the blocks that pair them up."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import (
    as_categories,
    constant_within,
    require_whole_samples,
    split_by_condition,
)
from scvi_downstream.runtime.errors import InputError, closest


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
    """

    name: str
    of_cell: pd.Series
    block_name: str | None
    block: pd.Series | None


def find_samples(obs: pd.DataFrame, keys: Replicates) -> Samples | None:
    """The study's samples; ``None`` without ``sample_key``.

    Where cells of one sample have different conditions, its cells of each condition are a sample of their own,
    and ``sample_key`` is the block unless another one is named.

    Raises
    ------
    InputError
        ``block_key`` is not in obs, or varies within samples.
    """
    block_key = keys.block_key
    if block_key is not None and block_key not in obs:
        raise InputError(f"block_key '{block_key}' is not a column of obs{closest(block_key, obs.columns)}")
    if keys.sample_key is None:
        return None
    of_cell = pd.Series(as_categories(obs[keys.sample_key]), index=obs.index)
    name, blocks = keys.sample_key, obs[block_key] if block_key else None
    parts = split_by_condition(of_cell, obs[keys.condition_key] if keys.condition_key else None)
    if parts is not None:
        whole, of_cell = of_cell, parts
        name = f"{keys.sample_key} × {keys.condition_key}"
        if blocks is None or block_key == keys.condition_key:
            block_key, blocks = keys.sample_key, whole
    if blocks is None or block_key == name:
        return Samples(name, of_cell, None, None)
    blocks = pd.Series(as_categories(blocks), index=obs.index)
    require_whole_samples(blocks, of_cell, f"block_key '{block_key}'", name)
    return Samples(name, of_cell, block_key, by_group(blocks, of_cell).dropna().rename(block_key))


def by_group(values: pd.Series, groups: pd.Series) -> pd.Series:
    """The one value of each group of cells, as a Series by group name."""
    first = values.groupby(groups.to_numpy(), observed=True).first()
    first.index = first.index.astype(str)
    return first


def pairing_column(obs: pd.DataFrame, samples: Samples, condition: pd.Series) -> str | None:
    """An obs column whose values each hold samples, without blocks, of every condition: they may be pairs."""
    n_samples, n_conditions = len(condition), condition.nunique()
    if n_conditions < 2:
        return None
    for name in obs.columns:
        if not (2 <= obs[name].nunique() < n_samples and constant_within(obs[name], samples.of_cell)):
            continue
        blocks = by_group(obs[name], samples.of_cell).reindex(condition.index)
        each = condition.groupby(blocks.to_numpy(), observed=True).nunique()
        if blocks.notna().all() and (each == n_conditions).all():
            return str(name)
    return None
