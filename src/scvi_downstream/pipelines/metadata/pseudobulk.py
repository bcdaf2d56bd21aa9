"""Counts summed by sample, and their logarithm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.metadata.tmm import tmm_factors

PRIOR_COUNT = 2.0
MIN_COUNT, MIN_TOTAL = 10, 15
PER_MILLION = 1e6


def sum_counts(
    matrix: sparse.csr_matrix, genes: pd.Index, units: pd.Series, cells: np.ndarray, min_cells: int
) -> pd.DataFrame:
    """Sums over the cells of each unit that has enough of them.

    Parameters
    ----------
    matrix
        ``(n_cells, n_genes)`` raw counts.
    genes
        Their names.
    units
        Sample or block of each cell.
    cells
        ``(n_cells,)`` mask of the cells to sum.
    min_cells
        Least cells of a unit.

    Returns
    -------
    Units × genes.
    """
    categories = units.astype("category")
    codes = np.where(cells, categories.cat.codes.to_numpy(), -1)
    sizes = np.bincount(codes[codes >= 0], minlength=len(categories.cat.categories))
    kept = np.flatnonzero(sizes >= min_cells)
    row = np.full(len(sizes) + 1, -1)
    row[kept] = np.arange(len(kept))
    of_cell = row[codes]
    used = np.flatnonzero(of_cell >= 0)
    indicator = sparse.csr_matrix(
        (np.ones(len(used)), (of_cell[used], used)), shape=(len(kept), matrix.shape[0])
    )
    sums = (indicator @ matrix).toarray()
    return pd.DataFrame(sums, index=categories.cat.categories[kept].astype(str), columns=genes)


def expressed_genes(sums: np.ndarray, smallest: int) -> np.ndarray:
    """Genes with as much as 10 counts in a sum of median size, in as many sums as the smallest category has.

    Parameters
    ----------
    sums
        ``(n_units, n_genes)``.
    smallest
        Number of sums.

    References
    ----------
    Chen, Lun & Smyth (2016), doi:10.12688/f1000research.8987.2.
    """
    totals = sums.sum(axis=1)
    rate = MIN_COUNT / np.median(totals)
    enough = (sums >= rate * totals[:, None]) & (sums > 0)
    return (enough.sum(axis=0) >= smallest) & (sums.sum(axis=0) >= MIN_TOTAL)


def log_cpm(sums: np.ndarray) -> np.ndarray:
    """log2 counts per million of effective library sizes, with a prior count of 2 in proportion to them.

    Parameters
    ----------
    sums
        ``(n_units, n_genes)``, no sum empty.

    References
    ----------
    Robinson, McCarthy & Smyth (2010), doi:10.1093/bioinformatics/btp616; Robinson & Oshlack (2010),
    doi:10.1186/gb-2010-11-3-r25.
    """
    totals = (sums.sum(axis=1) * tmm_factors(sums))[:, None]
    prior = PRIOR_COUNT * totals / totals.mean()
    return np.log2((sums + prior) / (totals + 2 * prior) * PER_MILLION)
