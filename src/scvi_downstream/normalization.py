"""Counts per 10,000 and their logarithm, the scale on which raw expression is compared and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

TARGET_SUM = 1e4


def log_normalize(counts: AnnData, genes: np.ndarray | slice = slice(None)) -> sparse.csr_matrix:
    """``log(1 + 10,000 x / total)`` of chosen genes; totals are over all genes, ``counts`` stays as it is.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    genes
        Positions of the genes wanted, in the order wanted.

    Returns
    -------
    ``(n_cells, n_chosen)`` CSR float32.
    """
    totals = np.asarray(counts.X.sum(axis=1)).ravel()
    factors = np.divide(TARGET_SUM, totals, out=np.zeros(len(totals)), where=totals > 0)
    chosen = sparse.csr_matrix(counts.X[:, genes], dtype=np.float32, copy=True)
    chosen.data = np.log1p(chosen.data * np.repeat(factors, np.diff(chosen.indptr))).astype(np.float32)
    return chosen
