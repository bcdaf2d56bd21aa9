"""Whether held-out cells differ between the conditions at all, and which genes do."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.normalization import TARGET_SUM
from scvi_downstream.pipelines.prediction.comparison import Group, pair_means
from scvi_downstream.pipelines.prediction.weights import pair_weights
from scvi_downstream.statistics.moderated import fit_linear, moderate, t_tests
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

N_PERMUTATIONS = 199


def change_p_value(group: Group, seed: int) -> float:
    """Probability of as large a change when conditions are given to cells at random within blocks.

    Parameters
    ----------
    group
        Held-out cells of both conditions.
    seed
        Of the permutations.

    Returns
    -------
    ``(1 + n_as_large) / (1 + 199)`` of the sum of squares of the change over genes; NaN when no block holds both.
    """
    cells, of_source = _stacked(group)
    blocks = np.concatenate([group.all_source[1], group.blocks.target])
    weights = pair_weights(blocks[of_source], blocks[~of_source], group.blocks.n)
    per_cell = np.concatenate(weights)
    rng = np.random.default_rng(seed)
    # the first row is the measured one; cells keep their blocks, so their weights stay the same
    source, target = (np.zeros((1 + N_PERMUTATIONS, len(blocks))) for _ in range(2))
    order = np.argsort(blocks, kind="stable")
    for row in range(1 + N_PERMUTATIONS):
        shuffled = np.lexsort((rng.random(len(blocks)), blocks)) if row else order
        source[row, shuffled] = np.where(of_source[order], per_cell[order], 0.0)
        target[row, shuffled] = np.where(of_source[order], 0.0, per_cell[order])
    before, after = pair_means(cells, cells, (source, target))
    statistics = ((after - before) ** 2).sum(axis=1)
    if not np.isfinite(statistics[0]):
        return np.nan
    return float((statistics >= statistics[0]).sum() / len(statistics))


def test_genes(group: Group) -> pd.DataFrame:
    """Moderated t-tests of every gene's change between the conditions, with blocks in the model, on cells.

    Returns
    -------
    One row a gene: ``effect`` (log-normalised expression, target less source), ``p``, ``p_adjusted``. Cells of a
    sample are not independent, so the p-values rank genes of these samples and do not speak for others.
    """
    cells, of_source = _stacked(group)
    expression = np.log1p(TARGET_SUM * cells.toarray())
    blocks = np.concatenate([group.all_source[1], group.blocks.target])
    indicators = (blocks[:, None] == np.unique(blocks)).astype(np.float64)
    design = np.column_stack([(~of_source).astype(np.float64), indicators])
    n_genes = expression.shape[1]
    if np.linalg.matrix_rank(design) < design.shape[1] or design.shape[0] <= design.shape[1]:
        return pd.DataFrame({"effect": np.full(n_genes, np.nan), "p": np.nan, "p_adjusted": np.nan})
    fit = fit_linear(expression, design)
    tests = t_tests(fit, moderate(fit), 0)
    tests.loc[expression.max(axis=0) == 0, "p"] = np.nan
    return tests[["effect", "p"]].assign(p_adjusted=benjamini_hochberg(tests["p"].to_numpy()))


def _stacked(group: Group) -> tuple[sparse.csr_matrix, np.ndarray]:
    """All cells of both conditions, and whether each is of the source."""
    source, _ = group.all_source
    of_source = np.arange(source.shape[0] + group.target.shape[0]) < source.shape[0]
    return sparse.csr_matrix(sparse.vstack([source, group.target])), of_source
