"""Linear models of one annotation of samples: which samples enter, and what answers the question."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import as_categories, constant_within, reference_condition
from scvi_downstream.cells.samples import Samples, by_group
from scvi_downstream.runtime.words import count
from scvi_downstream.statistics.moderated import LinearFit, Variances, f_tests, t_tests
from scvi_downstream.statistics.testing import benjamini_hochberg

logger = logging.getLogger(__name__)
ANY = "any difference"
SLOPE = "slope"


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
    min_cells, min_samples
        Cells from which a sample counts, and samples from which a category is tested.
    """

    name: str
    unit: str
    values: pd.Series
    unit_of_cell: pd.Series
    blocks: pd.Series | None
    min_cells: int
    min_samples: int

    def design(self, units: pd.Index) -> Design | str:
        """The linear model of those of the samples or blocks that are in ``units``, or why there is none."""
        values = self.values[self.values.index.isin(units)]
        return make_design(values, self.blocks, self.min_samples)


def sample_columns(
    annotations: pd.DataFrame, samples: Samples | None, keys: Replicates
) -> dict[str, SampleColumn]:
    """The annotations that are constant within samples, those that name the samples or blocks left out."""
    if samples is None:
        return {}
    found = {}
    enough = (keys.min_cells_per_sample, keys.min_samples_per_group)
    for name, values in annotations.items():
        if name in (samples.block_name, samples.name) or not constant_within(values, samples.of_cell):
            continue
        by_sample = by_group(values, samples.of_cell).dropna()
        column = SampleColumn(str(name), "sample", by_sample, samples.of_cell, samples.block, *enough)
        found[str(name)] = column if samples.block is None else _by_block(column, samples.block)
    return found


def condition_column(obs: pd.DataFrame, samples: Samples | None, keys: Replicates) -> SampleColumn | None:
    """The condition by sample, the one that every test of it is made on; ``None`` without samples or conditions.

    ``samples`` are those of :func:`~scvi_downstream.cells.samples.find_samples`.
    """
    if samples is None or not keys.condition_key:
        return None
    within = f"within {samples.blocks_in_words}" if samples.block_name else "without blocks"
    logger.info("samples of '%s' are compared %s", keys.condition_key, within)
    values = pd.Series(as_categories(obs[keys.condition_key]), index=obs.index, name=keys.condition_key)
    return sample_columns(values.to_frame(), samples, keys).get(keys.condition_key)


def _by_block(column: SampleColumn, block: pd.Series) -> SampleColumn:
    """The column by block where it is constant within all of them, otherwise as it is."""
    blocks = block.reindex(column.values.index)
    if not constant_within(column.values, blocks.astype(object)):
        return column
    of_cell = column.unit_of_cell.astype(object).map(block.astype(object)).astype("category")
    values = by_group(column.values, blocks).dropna()
    return replace(column, unit="block", values=values, unit_of_cell=of_cell, blocks=None)


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
        named = enumerate(others, 1)
        contrasts = tuple(Contrast(f"{level} vs {reference}", (i,), level, reference) for i, level in named)
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
