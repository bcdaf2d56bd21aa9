"""Linear models of one annotation: which samples enter, and which coefficients answer the question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.conditions import reference_condition
from scvi_downstream.statistics.moderated import LinearFit, Variances, f_tests, t_tests

ANY = "any difference"
SLOPE = "slope"


@dataclass(frozen=True)
class Contrast:
    """A question to the model.

    Attributes
    ----------
    name
        ``slope`` of a number, ``b vs a`` of two categories, ``any difference`` of three or more.
    coefficients
        Those that are zero under the null.
    level, reference
        The two categories; empty for the others.
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
    """The design of one annotation, or why there is none.

    Categories of fewer than ``min_samples`` samples, and samples that are alone in their block, are left out.

    Parameters
    ----------
    values
        By sample, categorical or float, none missing.
    blocks
        By sample, or ``None``.
    min_samples
        Least samples of a category; a number needs twice as many in all.
    """
    is_number = not isinstance(values.dtype, pd.CategoricalDtype)
    kept = _with_enough(values, blocks, min_samples)
    block_columns = (
        _indicators(blocks.reindex(kept.index)) if blocks is not None else np.empty((len(kept), 0))
    )
    if is_number:
        if kept.nunique() < 2 or len(kept) < 2 * min_samples:
            return f"{_samples(len(kept))} of {kept.nunique()} values, fewer than {2 * min_samples} samples or 2 values"
        columns = kept.to_numpy(dtype=np.float64)[:, None] - kept.mean()
        contrasts: tuple[Contrast, ...] = (Contrast(SLOPE, (1,)),)
        smallest = max(len(kept) // 2, 1)
    else:
        sizes = kept.value_counts()
        levels = [str(level) for level in kept.cat.categories if sizes[level] > 0]
        if len(levels) < 2:
            return f"fewer than 2 categories have {_samples(min_samples)}"
        reference = reference_condition(levels)
        others = [level for level in levels if level != reference]
        columns = np.column_stack([kept.astype(str).to_numpy() == level for level in others]).astype(
            np.float64
        )
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
        return f"{_samples(len(kept))} leave no degree of freedom"
    n_blocks = block_columns.shape[1] + 1 if blocks is not None else 0
    return Design(kept.index, matrix, contrasts, smallest, n_blocks)


def contrast_tests(fit: LinearFit, variances: Variances, contrast: Contrast) -> pd.DataFrame:
    """The t-test of one coefficient, or the F-test of several, whose effect and interval are NaN."""
    if len(contrast.coefficients) == 1:
        return t_tests(fit, variances, contrast.coefficients[0])
    return f_tests(fit, variances, list(contrast.coefficients)).assign(
        effect=np.nan, ci_lower=np.nan, ci_upper=np.nan
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


def _indicators(blocks: pd.Series) -> np.ndarray:
    codes, names = pd.factorize(blocks.astype(object))
    return (codes[:, None] == np.arange(1, len(names))).astype(np.float64)


def _samples(n: int) -> str:
    return f"{n} sample{'' if n == 1 else 's'}"
