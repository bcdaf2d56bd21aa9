"""The samples of a study, and linear models of one annotation of them: which enter, and what answers the question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import (
    as_categories,
    constant_within,
    reference_condition,
    require_whole_samples,
    split_by_condition,
)
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.words import count
from scvi_downstream.statistics.moderated import LinearFit, Variances, f_tests, t_tests
from scvi_downstream.statistics.testing import benjamini_hochberg

ANY = "any difference"
SLOPE = "slope"


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

    def design(self, units: pd.Index, options: MetadataAnalysisOptions) -> Design | str:
        """The linear model of those of the samples or blocks that are in ``units``, or why there is none."""
        values = self.values[self.values.index.isin(units)]
        return make_design(values, self.blocks, options.min_samples_per_group)


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
    require_whole_samples(blocks, of_cell, f"metadata_analysis.block_key '{block_key}'", name)
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


def _by_block(column: SampleColumn, block: pd.Series) -> SampleColumn:
    """The column by block where it is constant within all of them, otherwise as it is."""
    blocks = block.reindex(column.values.index)
    if not constant_within(column.values, blocks.astype(object)):
        return column
    of_cell = column.unit_of_cell.astype(object).map(block.astype(object)).astype("category")
    return SampleColumn(column.name, "block", by_group(column.values, blocks).dropna(), of_cell, None)


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


@dataclass(frozen=True)
class Contrast:
    """A question to the model.

    ``name`` is ``slope`` of a number, ``b vs a`` of two categories, ``any difference`` of three or more;
    ``coefficients`` are zero under the null; ``level`` and ``reference`` are the two categories, empty for the
    others.
    """

    name: str
    coefficients: tuple[int, ...]
    level: str = ""
    reference: str = ""


@dataclass(frozen=True, eq=False)
class Design:
    """What is regressed on what.

    Attributes
    ----------
    units
        Names of the samples or blocks, the rows.
    matrix
        ``(n_units, n_coefficients)``: constant, annotation, blocks.
    contrasts
        Questions to ask, the widest first.
    smallest
        Samples of the smallest category; half of all samples for a number.
    n_blocks
        Blocks within which samples are compared; 0 without.
    """

    units: pd.Index
    matrix: np.ndarray
    contrasts: tuple[Contrast, ...]
    smallest: int
    n_blocks: int


def make_design(values: pd.Series, blocks: pd.Series | None, min_samples: int) -> Design | str:
    """The design of one annotation (by sample, categorical or float, none missing), or why there is none.

    Categories of fewer than ``min_samples`` samples, and samples that are alone in their block, are left out; a
    number needs twice as many samples in all.
    """
    kept = _with_enough(values, blocks, min_samples)
    block_columns = np.empty((len(kept), 0))
    if blocks is not None:
        codes, names = pd.factorize(blocks.reindex(kept.index).astype(object))
        block_columns = (codes[:, None] == np.arange(1, len(names))).astype(np.float64)
    if not isinstance(values.dtype, pd.CategoricalDtype):
        if kept.nunique() < 2 or len(kept) < 2 * min_samples:
            few = f"fewer than {2 * min_samples} samples or 2 values"
            return f"{count(len(kept), 'sample')} of {kept.nunique()} values, {few}"
        columns = kept.to_numpy(dtype=np.float64)[:, None] - kept.mean()
        contrasts: tuple[Contrast, ...] = (Contrast(SLOPE, (1,)),)
        smallest = max(len(kept) // 2, 1)
    else:
        sizes = kept.value_counts()
        levels = [str(level) for level in kept.cat.categories if sizes[level] > 0]
        if len(levels) < 2:
            return f"fewer than 2 categories have {count(min_samples, 'sample')}"
        reference = reference_condition(levels)
        others = [level for level in levels if level != reference]
        texts = kept.astype(str).to_numpy()
        columns = np.column_stack([texts == level for level in others]).astype(np.float64)
        contrasts = tuple(
            Contrast(f"{level} vs {reference}", (i + 1,), level, reference) for i, level in enumerate(others)
        )
        if len(others) > 1:
            contrasts = (Contrast(ANY, tuple(range(1, len(others) + 1))), *contrasts)
        smallest = int(sizes[sizes > 0].min())
    matrix = np.column_stack([np.ones(len(kept)), columns, block_columns])
    rank = np.linalg.matrix_rank(matrix)
    if rank < matrix.shape[1]:
        return "it cannot be told apart from the blocks"
    if rank >= len(kept):
        return f"{count(len(kept), 'sample')} leave no degree of freedom"
    n_blocks = block_columns.shape[1] + 1 if blocks is not None else 0
    return Design(kept.index, matrix, contrasts, smallest, n_blocks)


def contrast_tests(
    fit: LinearFit, variances: Variances, column: SampleColumn, design: Design
) -> Iterator[tuple[Contrast, pd.DataFrame]]:
    """Each contrast of a design, and its tests of all responses.

    Yields
    ------
    ``n_responses`` rows of the t-test of one coefficient, or of the F-test of several, of which ``effect`` and
    interval are NaN; with ``column``, ``contrast``, ``unit``, ``n_blocks`` and, over the responses, ``p_adjusted``.
    """
    for contrast in design.contrasts:
        if len(contrast.coefficients) == 1:
            tests = t_tests(fit, variances, contrast.coefficients[0])
        else:
            tests = f_tests(fit, variances, list(contrast.coefficients))
            tests = tests.assign(effect=np.nan, ci_lower=np.nan, ci_upper=np.nan)
        yield (
            contrast,
            tests.assign(
                column=column.name,
                contrast=contrast.name,
                unit=column.unit,
                n_blocks=design.n_blocks,
                p_adjusted=benjamini_hochberg(tests["p"].to_numpy()),
            ),
        )


def _with_enough(values: pd.Series, blocks: pd.Series | None, min_samples: int) -> pd.Series:
    """Samples of large enough categories and with company in their block, until neither rule drops any more."""
    while True:
        kept = values
        if blocks is not None:
            of_block = blocks.reindex(kept.index)
            sizes = of_block.map(of_block.value_counts())
            kept = kept[(sizes.astype(float) > 1).to_numpy()]
        if isinstance(kept.dtype, pd.CategoricalDtype):
            sizes = kept.map(kept.value_counts())
            kept = kept[(sizes.astype(float) >= min_samples).to_numpy()].cat.remove_unused_categories()
        if len(kept) == len(values):
            return kept
        values = kept
