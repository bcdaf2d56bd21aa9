"""Expression tested on counts summed by sample: one way to sum, to filter and to test, wherever it is shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.designs import Design, SampleColumn, contrast_tests
from scvi_downstream.statistics.moderated import fit_linear, fit_weighted, moderate, variances_along

TRIMMED_RATIOS, TRIMMED_ABUNDANCES = 0.3, 0.05


def tmm_factors(sums: np.ndarray) -> np.ndarray:
    """Trimmed means of M-values: what to multiply each total with, for an effective library size.

    Of ``(n_units, n_genes)`` counts, no unit empty; ``(n_units,)`` factors whose geometric mean is 1. Robinson &
    Oshlack (2010), doi:10.1186/gb-2010-11-3-r25.
    """
    counted = sums[:, sums.sum(axis=0) > 0]
    totals = counted.sum(axis=1)
    quartiles = np.quantile(counted / totals[:, None], 0.75, axis=1)
    if np.median(quartiles) < 1e-20:  # three quarters are unseen: the deepest is the reference
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


MIN_GENES = 10
PRIOR_COUNT = 2.0
MIN_COUNT, MIN_TOTAL = 10, 15
PER_MILLION = 1e6


def sum_counts(counts: AnnData, units: pd.Series, cells: np.ndarray, min_cells: int) -> pd.DataFrame:
    """Sums over the cells of each unit that has enough of them.

    Parameters
    ----------
    counts
        Raw counts of all genes.
    units
        Sample or block of each cell; missing: of none.
    cells
        ``(n_cells,)`` mask of the cells to sum.
    min_cells
        Least cells of a unit.

    Returns
    -------
    Units × genes; units without a count are left out.
    """
    categories = units.astype("category")
    codes = np.where(cells, categories.cat.codes.to_numpy(), -1)
    sizes = np.bincount(codes[codes >= 0], minlength=len(categories.cat.categories))
    kept = np.flatnonzero(sizes >= min_cells)
    row = np.full(len(sizes) + 1, -1)
    row[kept] = np.arange(len(kept))
    of_cell = row[codes]
    used = np.flatnonzero(of_cell >= 0)
    ones = (np.ones(len(used)), (of_cell[used], used))
    indicator = sparse.csr_matrix(ones, shape=(len(kept), counts.n_obs))
    sums = (indicator @ counts.X).toarray()
    table = pd.DataFrame(sums, index=categories.cat.categories[kept].astype(str), columns=counts.var_names)
    return table[sums.any(axis=1)]


def test_cells(counts: AnnData, column: SampleColumn, cells: np.ndarray) -> dict[str, pd.DataFrame]:
    """:func:`test_sums` of the sums over a ``(n_cells,)`` mask of cells."""
    return test_sums(sum_counts(counts, column.unit_of_cell, cells, column.min_cells), column)


def test_sums(sums: pd.DataFrame, column: SampleColumn) -> dict[str, pd.DataFrame]:
    """Moderated linear models of an annotation on log2 counts per million, each sum weighted by its precision.

    Sums of few cells vary more. As in voom, each gene's residual variance is followed over its mean log2 count, and
    every sum of a gene weighted by the inverse of the variance at its fitted log2 count. How it holds its
    level beside DESeq2's Wald test: ``benchmarks/pseudobulk.py``.

    Parameters
    ----------
    sums
        Units × all genes, of :func:`sum_counts`.
    column
        The annotation of these samples or blocks.

    Returns
    -------
    By contrast one row a gene, as of :func:`~scvi_downstream.statistics.designs.contrast_tests`: ``effect`` is a log2
    fold change or, for a number, the change per unit of it; for any difference NaN, with ``effect_size`` the largest
    difference of two categories; besides ``gene``, ``test``, ``n`` (units), ``n_samples1`` and ``n_samples2`` (those of
    the two categories), ``mean_expression`` (log2 counts per million). BH over the genes of a contrast. Empty where the
    design cannot be fitted or fewer than 10 genes, which do not tell how variances are distributed, have counts enough.

    References
    ----------
    Law et al. (2014), doi:10.1186/gb-2014-15-2-r29 (voom); Smyth (2004), doi:10.2202/1544-6115.1027; Squair et al.
    (2021), doi:10.1038/s41467-021-25960-2 (why sums by sample).
    """
    design = column.design(sums.index)
    if not isinstance(design, Design):
        return {}
    used = sums.loc[design.units].to_numpy()
    expressed = expressed_genes(used, design.smallest)
    if expressed.sum() < MIN_GENES:
        return {}
    used = used[:, expressed]
    totals = used.sum(axis=1) * tmm_factors(used)
    logs = log_cpm(used, totals)
    ordinary = fit_linear(logs, design.matrix)
    log_counts = design.matrix @ ordinary.coefficients + np.log2(totals / PER_MILLION)[:, None]
    weights = 1 / variances_along(ordinary, log_counts.mean(axis=0), log_counts)
    n_tested = 1 + max(max(each.coefficients) for each in design.contrasts)
    fit = fit_weighted(logs, design.matrix, weights, n_tested)
    levels = column.values[design.units].astype(str)
    tables = {}
    for contrast, tests in contrast_tests(fit, moderate(fit), column, design):
        of_levels = fit.coefficients[list(contrast.coefficients)]
        tables[contrast.name] = tests.assign(
            gene=sums.columns[expressed].to_numpy(),
            test="moderated t" if len(contrast.coefficients) == 1 else "moderated F",
            n=len(design.units),
            n_samples1=int((levels == contrast.level).sum()),
            n_samples2=int((levels == contrast.reference).sum()),
            effect_size=np.maximum(of_levels.max(axis=0), 0) - np.minimum(of_levels.min(axis=0), 0),
            mean_expression=logs.mean(axis=0),
        )
    return tables


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


def log_cpm(sums: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """log2 counts per million of library sizes, with a prior count of 2 in proportion to them.

    Parameters
    ----------
    sums
        ``(n_units, n_genes)``, no sum empty.
    totals
        ``(n_units,)`` effective library sizes: with the factors of :func:`tmm_factors`.

    References
    ----------
    Robinson, McCarthy & Smyth (2010), doi:10.1093/bioinformatics/btp616; Robinson & Oshlack (2010),
    doi:10.1186/gb-2010-11-3-r25.
    """
    totals = totals[:, None]
    prior = PRIOR_COUNT * totals / totals.mean()
    return np.log2((sums + prior) / (totals + 2 * prior) * PER_MILLION)
