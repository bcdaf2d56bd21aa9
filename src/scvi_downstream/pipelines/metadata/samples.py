"""Which cells make one sample, which samples belong together, and what each annotation says of them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters import Keys, MetadataAnalysisOptions
from scvi_downstream.samples import constant_within, split_by_condition


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


@dataclass(frozen=True, eq=False)
class SampleColumn:
    """An annotation that is constant within samples.

    Attributes
    ----------
    name
        Of the annotation.
    unit
        ``sample``, or ``block`` where the annotation is constant within blocks too: then the block's samples
        are one replicate.
    values
        By sample or block, without missing ones.
    unit_of_cell
        Sample or block of each cell.
    blocks
        Block of each sample; ``None`` without blocks and where blocks are the unit.
    """

    name: str
    unit: str
    values: pd.Series
    unit_of_cell: pd.Series
    blocks: pd.Series | None


def find_samples(obs: pd.DataFrame, keys: Keys, options: MetadataAnalysisOptions) -> Samples | None:
    """The study's samples; ``None`` without ``sample_key``.

    Where cells of one sample have different conditions, its cells of each condition are a sample of their own,
    and ``sample_key`` is the block unless another one is named.

    Raises
    ------
    InputError
        ``block_key`` is not in obs, or varies within samples.
    """
    block_key = options.block_key
    if block_key is not None and block_key not in obs:
        raise InputError(
            f"metadata_analysis.block_key '{block_key}' is not a column of obs{closest(block_key, obs.columns)}"
        )
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
    if not constant_within(blocks, of_cell):
        raise InputError(
            f"metadata_analysis.block_key '{block_key}' has several values within one sample of '{name}'; a block "
            "is made of whole samples, such as the donor of a treated and an untreated one"
        )
    return Samples(name, of_cell, block_key, by_group(blocks, of_cell).dropna().rename(block_key))


def sample_columns(annotations: pd.DataFrame, samples: Samples | None) -> dict[str, SampleColumn]:
    """The annotations that are constant within samples, those that name the samples or blocks left out."""
    if samples is None:
        return {}
    found = {}
    for name, values in annotations.items():
        if name in (samples.block_name, samples.name) or not constant_within(values, samples.of_cell):
            continue
        by_sample = by_group(values, samples.of_cell).dropna()
        column = SampleColumn(str(name), "sample", by_sample, samples.of_cell, samples.block)
        found[str(name)] = column if samples.block is None else _by_block(column, samples.block)
    return found


def by_group(values: pd.Series, groups: pd.Series) -> pd.Series:
    """The one value of each group of cells, as a Series by group name."""
    first = values.groupby(groups.to_numpy(), observed=True).first()
    first.index = first.index.astype(str)
    return first


def pairing_column(obs: pd.DataFrame, samples: Samples, condition: pd.Series) -> str | None:
    """An obs column whose values each hold samples of every condition: samples that may be pairs.

    Parameters
    ----------
    obs
        One row a cell.
    samples
        Without blocks.
    condition
        By sample.
    """
    n_samples, n_conditions = len(condition), condition.nunique()
    for name in obs.columns:
        n_values = obs[name].nunique()
        if (
            not 2 <= n_values < n_samples
            or n_conditions < 2
            or not constant_within(obs[name], samples.of_cell)
        ):
            continue
        blocks = by_group(obs[name], samples.of_cell).reindex(condition.index)
        each = condition.groupby(blocks.to_numpy(), observed=True).nunique()
        if blocks.notna().all() and (each == n_conditions).all():
            return str(name)
    return None


def _by_block(column: SampleColumn, block: pd.Series) -> SampleColumn:
    """The column by block where it is constant within all of them, otherwise as it is."""
    blocks = block.reindex(column.values.index)
    if not constant_within(column.values, blocks.astype(object)):
        return column
    of_cell = column.unit_of_cell.astype(object).map(block.astype(object)).astype("category")
    return SampleColumn(column.name, "block", by_group(column.values, blocks).dropna(), of_cell, None)
