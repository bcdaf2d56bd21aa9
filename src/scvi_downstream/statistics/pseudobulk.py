"""Counts summed by sample, and their logarithm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

TRIMMED_RATIOS, TRIMMED_ABUNDANCES = 0.3, 0.05


def tmm_factors(sums: np.ndarray) -> np.ndarray:
    """Trimmed means of M-values: what to multiply each total with, for an effective library size.

    Of ``(n_units, n_genes)`` counts, no unit empty; ``(n_units,)`` factors whose geometric mean is 1. Robinson &
    Oshlack (2010), doi:10.1186/gb-2010-11-3-r25.
    """
    counted = sums[:, sums.sum(axis=0) > 0]
    totals = counted.sum(axis=1)
    quartiles = np.quantile(counted / totals[:, None], 0.75, axis=1)
    if (
        np.median(quartiles) < 1e-20
    ):  # three quarters of the genes are unseen: the deepest sum is the reference
        reference = int(np.argmax(np.sqrt(counted).sum(axis=1)))
    else:
        reference = int(np.argmin(np.abs(quartiles - quartiles.mean())))
    factors = np.array(
        [_factor(counts, total, counted[reference], totals[reference])
         for counts, total in zip(counted, totals, strict=True)]
    )  # fmt: skip
    return factors / np.exp(np.log(factors).mean())


def _factor(counts: np.ndarray, total: float, reference: np.ndarray, reference_total: float) -> float:
    """The factor of one sum against the reference."""
    both = (counts > 0) & (reference > 0)
    y, y_reference = counts[both], reference[both]
    ratio = np.log2((y / total) / (y_reference / reference_total))
    abundance = (np.log2(y / total) + np.log2(y_reference / reference_total)) / 2
    if not len(ratio) or np.abs(ratio).max() < 1e-6:
        return 1.0
    variance = (total - y) / total / y + (reference_total - y_reference) / reference_total / y_reference
    kept = _middle(ratio, TRIMMED_RATIOS) & _middle(abundance, TRIMMED_ABUNDANCES)
    weights = 1 / variance[kept]
    return float(2 ** (weights @ ratio[kept] / weights.sum())) if weights.sum() > 0 else 1.0


def _middle(values: np.ndarray, trimmed: float) -> np.ndarray:
    from scipy.stats import rankdata

    lowest = np.floor(len(values) * trimmed) + 1
    ranks = rankdata(values)
    return (ranks >= lowest) & (ranks <= len(values) + 1 - lowest)


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


def log_cpm(sums: np.ndarray, totals: np.ndarray | None = None) -> np.ndarray:
    """log2 counts per million of library sizes, with a prior count of 2 in proportion to them.

    Parameters
    ----------
    sums
        ``(n_units, n_genes)``, no sum empty.
    totals
        ``(n_units,)`` library sizes; ``None``: the effective ones, of :func:`tmm_factors`.

    References
    ----------
    Robinson, McCarthy & Smyth (2010), doi:10.1093/bioinformatics/btp616; Robinson & Oshlack (2010),
    doi:10.1186/gb-2010-11-3-r25.
    """
    totals = (sums.sum(axis=1) * tmm_factors(sums) if totals is None else totals)[:, None]
    prior = PRIOR_COUNT * totals / totals.mean()
    return np.log2((sums + prior) / (totals + 2 * prior) * PER_MILLION)
