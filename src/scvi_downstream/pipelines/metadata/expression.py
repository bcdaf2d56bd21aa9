"""Genes whose expression goes together with an annotation of samples, the samples being the replicates."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.metadata.designs import ANY, Design, SampleColumn, contrast_tests, make_design
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.statistics.correlation import stratified_spearman
from scvi_downstream.statistics.moderated import fit_linear, moderate
from scvi_downstream.statistics.pseudobulk import expressed_genes, log_cpm, sum_counts
from scvi_downstream.statistics.testing import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


ALL = "all"
MIN_GENES = 10
COLUMNS = [
    "column", "contrast", "group", "gene", "symbol", "unit", "test", "n", "n_blocks", "effect", "effect_size",
    "ci_lower", "ci_upper", "statistic", "p", "p_adjusted", "mean_expression",
]  # fmt: skip
CATEGORIES = ("column", "contrast", "group", "unit", "test")


def compare_on_samples(
    counts: AnnData, groups: pd.Series, columns: list[SampleColumn], options: MetadataAnalysisOptions
) -> pd.DataFrame:
    """Moderated linear models of log-CPM of the counts summed by sample, of all cells and of each group.

    Parameters
    ----------
    counts
        Raw counts of all genes.
    groups
        Cluster or cell type of each cell, missing where it has none.
    columns
        Annotations that are constant within samples.
    options
        Least samples of a category and cells of a sum.

    Returns
    -------
    One row an annotation, contrast, group and gene: ``effect`` is a log2 fold change or, for a number, the
    change per unit of it; for any difference NaN, with ``effect_size`` the largest difference of two
    categories. BH over the genes of each annotation, contrast and group; the smallest p-value first.

    References
    ----------
    Law et al. (2014), doi:10.1186/gb-2014-15-2-r29 (limma-trend); Squair et al. (2021),
    doi:10.1038/s41467-021-25960-2 (why sums by sample).
    """
    named = {ALL: np.ones(counts.n_obs, dtype=bool)}
    named |= {str(name): (groups == name).to_numpy() for name in groups.cat.categories}
    progress = Progress("expression by metadata", len(named) if columns else 0)
    tables = []
    for group, cells in named.items():
        sums = {}
        for column in columns:
            if column.unit not in sums:
                sums[column.unit] = sum_counts(
                    counts.X, counts.var_names, column.unit_of_cell, cells, options.min_cells_per_sample
                )
            table = _test(sums[column.unit], column, options)
            if table is None:
                logger.debug("%s: too few samples to test %s", group, column.name)
            else:
                tables.append(table.assign(group=group))
        progress.advance()
    return collect(tables, counts)


def collect(tables: list[pd.DataFrame], counts: AnnData) -> pd.DataFrame:
    """The tables below one another with the genes' symbols, in the order of annotations, contrasts and groups.

    An annotation's contrasts stay in their order, any difference the first, whatever those of others are called.
    """
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    symbols = counts.var["symbol"].astype(str) if "symbol" in counts.var else counts.var_names.to_series()
    table["symbol"] = symbols.reindex(table["gene"]).to_numpy()
    for name in CATEGORIES:
        table[name] = pd.Categorical(table[name], categories=table[name].unique())
    nth = table.groupby(["column", "contrast"], observed=True, sort=False).ngroup()
    table["nth"] = nth.where(table["contrast"] != ANY, -1)
    table = table.sort_values(["column", "nth", "group", "p"], kind="stable", ignore_index=True)
    return table.reindex(columns=COLUMNS)


def join_in_order(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Tables of tests as one, annotations in the given order."""
    given = [table for table in tables if len(table)]
    if not given:
        return tables[0]
    joined = pd.concat(
        [table.astype(dict.fromkeys(CATEGORIES, object)) for table in given], ignore_index=True
    )
    order = joined["column"].map({name: position for position, name in enumerate(columns)})
    joined = joined.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)
    for name in CATEGORIES:
        joined[name] = pd.Categorical(joined[name], categories=joined[name].unique())
    return joined


def _test(sums: pd.DataFrame, column: SampleColumn, options: MetadataAnalysisOptions) -> pd.DataFrame | None:
    values = column.values[column.values.index.isin(sums.index)]
    design = make_design(values, column.blocks, options.min_samples_per_group)
    if not isinstance(design, Design):
        return None
    used = sums.loc[design.units].to_numpy()
    expressed = expressed_genes(used, design.smallest)
    if expressed.sum() < MIN_GENES:
        return None
    values_by_gene = log_cpm(used[:, expressed])
    mean = values_by_gene.mean(axis=0)
    fit = fit_linear(values_by_gene, design.matrix)
    variances = moderate(fit, trend=mean)
    tables = []
    for contrast in design.contrasts:
        tests = contrast_tests(fit, variances, contrast)
        by_level = fit.coefficients[list(contrast.coefficients)]
        widest = np.maximum(by_level.max(axis=0), 0) - np.minimum(by_level.min(axis=0), 0)
        tables.append(
            tests.assign(
                column=column.name,
                contrast=contrast.name,
                gene=sums.columns[expressed].to_numpy(),
                unit=column.unit,
                test="moderated t" if len(contrast.coefficients) == 1 else "moderated F",
                n=len(design.units),
                n_blocks=design.n_blocks,
                effect_size=widest,
                p_adjusted=benjamini_hochberg(tests["p"].to_numpy()),
                mean_expression=mean,
            )
        )
    return pd.concat(tables, ignore_index=True)


MIN_CELLS = 20


def correlate_on_cells(counts: AnnData, annotations: pd.DataFrame, strata: pd.Series | None) -> pd.DataFrame:
    """Spearman's correlation of log-normalised expression of the modelled genes with annotations of cells.

    Parameters
    ----------
    counts
        Raw counts; ``var["highly_variable"]`` marks the genes.
    annotations
        Cells × annotations; of categories each one is compared with the rest, as 1 and 0.
    strata
        Sample of each cell: correlations are within samples; ``None``: over all cells.

    Returns
    -------
    As :func:`~scvi_downstream.pipelines.metadata.expression.compare_on_samples`; ``effect`` is ρ, ``unit`` is
    ``cell``, ``mean_expression`` that of the log-normalised counts.
    """
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    if annotations.empty or not len(genes):
        return collect([], counts)
    expression = log_normalize(counts, genes)
    codes = np.zeros(counts.n_obs, dtype=int) if strata is None else strata.astype("category").cat.codes
    codes = np.asarray(codes)
    progress = Progress("expression by metadata of cells", annotations.shape[1])
    tables = []
    for name, values in annotations.items():
        cells = values.notna().to_numpy() & (codes >= 0)
        if cells.sum() >= MIN_CELLS:
            numbers = _as_numbers(values[cells])
            found = stratified_spearman(expression[cells], numbers, codes[cells])
            mean = np.asarray(expression[cells].mean(axis=0)).ravel()
            tables += [
                _rows(table, str(name), contrast, counts.var_names[genes], mean, int(cells.sum()))
                for contrast, table in found.items()
            ]
        progress.advance()
    return collect(tables, counts)


def _as_numbers(values: pd.Series) -> pd.DataFrame:
    """The number itself, or one column of 1 and 0 a category; of two categories the second is enough."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return pd.DataFrame({"slope": values})
    levels = list(values.cat.remove_unused_categories().cat.categories)
    if len(levels) == 2:
        return pd.DataFrame({f"{levels[1]} vs {levels[0]}": (values == levels[1]).astype(float)})
    return pd.DataFrame({f"{level} vs rest": (values == level).astype(float) for level in levels})


def _rows(
    table: pd.DataFrame, column: str, contrast: str, genes: pd.Index, mean: np.ndarray, n_cells: int
) -> pd.DataFrame:
    rows = table.rename(columns={"rho": "effect"}).assign(
        column=column,
        contrast=contrast,
        group=ALL,
        gene=genes.to_numpy(),
        unit="cell",
        test="Spearman",
        n=n_cells,
        n_blocks=0,
        p_adjusted=benjamini_hochberg(table["p"].to_numpy()),
        mean_expression=mean,
    )
    rows["effect_size"] = rows["effect"].abs()
    return rows[rows["p"].notna()]
