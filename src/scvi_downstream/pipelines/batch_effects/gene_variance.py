"""Which genes carry the batch: shares of each gene's variance, and an F test of batch given biology."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

from .design import Design, codes
from .variance import Factors, Moments, factors, moments, shares

COLUMNS = (
    "gene", "batch_variance", "biology_variance", "shared_variance", "batch_f", "batch_p",
    "batch_p_adjusted", "batch_unit", "batch_variance_corrected", "biology_variance_corrected",
)  # fmt: skip


def rank_genes(
    expression: sparse.csr_matrix, corrected: np.ndarray | None, genes: pd.Index, design: Design
) -> pd.DataFrame:
    """One row a gene, the one that carries the batch most first.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised counts.
    corrected
        ``(n_cells, n_genes)`` log corrected expression, if there is any.
    genes
        Names of the ``n_genes`` genes.
    design
        Batch and biology of the same cells; those of unknown biology are left out.

    Returns
    -------
    ``COLUMNS``: adjusted shares of the variance, before and after; the F test that batches are equal given
    biology, on cells, or on samples where a batch holds several (``batch_unit``). NaN where a share or test
    is undefined.
    """
    rows = np.flatnonzero(design.known)
    design = design.take(rows)
    model = factors(design)
    before = expression[rows]
    sums = moments(model.columns, before)
    by_gene = shares(sums, model, together=False)
    f, p, unit = compare_batches(before, sums, model, design)
    table = pd.DataFrame(
        {
            "gene": genes.astype(str),
            "batch_variance": by_gene[0],
            "biology_variance": by_gene[1],
            "shared_variance": by_gene[2],
            "batch_f": f,
            "batch_p": p,
            "batch_p_adjusted": benjamini_hochberg(p),
            "batch_unit": unit,
        }
    )
    after = np.full_like(by_gene, np.nan)
    if corrected is not None:
        after = shares(moments(model.columns, corrected[rows]), model, together=False)
    table = table.assign(batch_variance_corrected=after[0], biology_variance_corrected=after[1])
    return table.sort_values("batch_variance", ascending=False, kind="stable", ignore_index=True)


def compare_batches(
    values: sparse.csr_matrix, sums: Moments, model: Factors, design: Design
) -> tuple[np.ndarray, np.ndarray, str]:
    """F statistics and p-values ``(n_genes,)`` of batch given biology, and what was the replicate."""
    if design.samples is not None and _nested(design.samples, design.batches):
        return (*_compare_on_samples(values, sums, model, design), "sample")
    return (*nested_f(sums, model.with_biology, model.with_both), "cell")


def nested_f(sums: Moments, smaller: np.ndarray, larger: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F test of the columns that the larger model adds; NaN when they add nothing or nothing is left.

    References
    ----------
    Searle (1971), Linear Models, section 3.6.
    """
    from scipy.stats import f

    explained, rank = sums.explained(larger)
    without, rank_without = sums.explained(smaller)
    added, left = rank - rank_without, sums.n_cells - rank
    if added < 1 or left < 1:
        return np.full(len(explained), np.nan), np.full(len(explained), np.nan)
    residual = sums.squares - explained
    varies = residual > 1e-10 * np.maximum(sums.squares, 1e-300)
    ratio = np.full(len(explained), np.nan)
    ratio[varies] = (explained - without)[varies] / added / (residual[varies] / left)
    return ratio, f.sf(ratio, added, left)


def _nested(samples: pd.Series, batches: pd.Series) -> bool:
    """Whether every sample lies in one batch, and there are more samples than batches."""
    held = pd.crosstab(samples, batches) > 0
    return bool((held.sum(axis=1) == 1).all() and len(held) > held.shape[1])


def _compare_on_samples(
    values: sparse.csr_matrix, sums: Moments, model: Factors, design: Design
) -> tuple[np.ndarray, np.ndarray]:
    """F test on the mean of each sample, given the biology that is constant within samples.

    Biology that varies within samples is estimated there and subtracted, which costs no sample; what is
    constant within samples is a term of both models, and costs degrees of freedom.
    """
    found = codes(design.samples)
    sizes = np.bincount(found)
    averaging = sparse.csr_matrix((1 / sizes[found], (found, np.arange(len(found)))))
    means = (averaging @ values.astype(np.float64)).toarray()
    biology = model.with_biology[1:]
    constant = np.ones((len(sizes), 1))
    if len(biology):
        composition = (averaging @ model.columns[:, biology]).toarray()
        weighted = (composition * sizes[:, None]).T
        within = sums.gram[np.ix_(biology, biology)] - weighted @ composition
        spread, directions = np.linalg.eigh(within)
        varies = spread > 1e-9 * sums.gram[biology, biology].max()
        inside = directions[:, varies]
        cross = sums.cross[biology] - weighted @ means
        means -= composition @ (inside @ ((inside.T @ cross) / spread[varies, None]))
        constant = np.hstack([constant, composition @ directions[:, ~varies]])
    first = np.unique(found, return_index=True)[1]
    batches = codes(design.batches.iloc[first])
    columns = sparse.csr_matrix(np.hstack([constant, np.eye(batches.max() + 1)[batches]]))
    return nested_f(moments(columns, means), np.arange(constant.shape[1]), np.arange(columns.shape[1]))
