"""Genes whose expression goes together with annotations of samples, which are the replicates, or of cells."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize, symbols_of
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.pipelines.metadata.annotations import analysed_columns, is_number
from scvi_downstream.pipelines.metadata.composition import find_groups
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.correlation import stratified_spearman
from scvi_downstream.statistics.designs import ANY, SLOPE, SampleColumn
from scvi_downstream.statistics.pseudobulk import sum_counts, test_sums
from scvi_downstream.statistics.testing import benjamini_hochberg

logger = logging.getLogger(__name__)

ALL = "all"
"""Name of the group of all cells."""
MIN_CELLS = 20
"""With fewer cells the normal approximation of the correlation's p-value does not hold."""
COLUMNS = [
    "column", "contrast", "group", "gene", "symbol", "unit", "test", "n", "n_blocks", "effect", "effect_size",
    "ci_lower", "ci_upper", "statistic", "p", "p_adjusted", "mean_expression",
]  # fmt: skip
CATEGORIES = ("column", "contrast", "group", "unit", "test")


def compare_expression(
    counts: AnnData,
    clusters: pd.DataFrame,
    annotations: pd.DataFrame,
    keys: Replicates,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Genes that go together with annotations.

    On counts summed by sample where an annotation is constant within samples (:func:`_compare_on_samples`),
    otherwise on cells, within samples (:func:`_correlate_on_cells`).

    Parameters
    ----------
    counts, clusters, annotations
        Raw counts of all genes; clusterings of the same cells; cells × columns.
    keys, options
        Names of the obs columns; the grouping, and what is enough to be tested.

    Returns
    -------
    As of :func:`collect`.
    """
    usable, samples, columns = analysed_columns(annotations, counts.obs, keys, options)
    naming = [] if samples is None else [samples.name, samples.block_name, keys.sample_key]
    of_cells = usable[[name for name in usable if name not in columns and name not in naming]]
    groups = find_groups(counts, clusters, keys, options)
    tables = _compare_on_samples(counts, groups, list(columns.values()))
    tables += _correlate_on_cells(counts, of_cells, None if samples is None else samples.of_cell)
    return collect(tables, counts, list(usable))


def collect(tables: list[pd.DataFrame], counts: AnnData, columns: list[str]) -> pd.DataFrame:
    """The tables below one another with the genes' symbols, in the order of annotations, contrasts and groups.

    An annotation's contrasts stay in their order, any difference the first, whatever those of others are called;
    tables on samples come before those on cells. :data:`COLUMNS`; one row an annotation, contrast, group and gene,
    the smallest p-value first.
    """
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    table["symbol"] = symbols_of(counts.var).reindex(table["gene"]).to_numpy()
    nth = table.groupby(["column", "contrast"], observed=True, sort=False).ngroup()
    ranks = table[["p"]].assign(
        column=pd.Index(columns).get_indexer(table["column"]),
        contrast=nth.where(table["contrast"] != ANY, -1),
        group=pd.factorize(table["group"])[0],
    )
    order = ranks.sort_values(["column", "contrast", "group", "p"], kind="stable").index
    table = table.loc[order].reset_index(drop=True)
    for name in CATEGORIES:
        table[name] = pd.Categorical(table[name], categories=table[name].unique())
    return table.reindex(columns=COLUMNS)


def _compare_on_samples(
    counts: AnnData, groups: pd.Series, columns: list[SampleColumn]
) -> list[pd.DataFrame]:
    """Tests on counts summed by sample, of all cells and of each group.

    A table a group, annotation and contrast, as of :func:`~scvi_downstream.statistics.pseudobulk.test_sums`.
    """
    masks = {ALL: np.ones(counts.n_obs, dtype=bool)}
    masks |= {str(name): (groups == name).to_numpy() for name in groups.cat.categories}
    progress = Progress("expression by metadata", len(masks) if columns else 0)
    tables = []
    for group, cells in masks.items():
        sums: dict[str, pd.DataFrame] = {}
        for column in columns:
            if column.unit not in sums:
                sums[column.unit] = sum_counts(counts, column.unit_of_cell, cells, column.min_cells)
            tests = test_sums(sums[column.unit], column)
            if not tests:
                logger.debug("%s: too few samples to test %s", group, column.name)
            tables += [table.assign(group=group) for table in tests.values()]
        progress.advance()
    return tables


def _correlate_on_cells(
    counts: AnnData, annotations: pd.DataFrame, strata: pd.Series | None
) -> list[pd.DataFrame]:
    """Spearman's correlation of log-normalised expression of the modelled genes with annotations of cells.

    Correlations are within ``strata`` (samples), ``None``: over all cells; of categories each one is compared with
    the rest, as 1 and 0. A table an annotation and contrast as of :func:`_compare_on_samples`; ``effect`` is ρ,
    ``unit`` is ``cell``, ``mean_expression`` that of the log-normalised counts.
    """
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    if annotations.empty or not len(genes):
        return []
    expression = log_normalize(counts, genes)
    codes = np.zeros(counts.n_obs, dtype=int)
    if strata is not None:
        codes = strata.astype("category").cat.codes.to_numpy()
    progress = Progress("expression by metadata of cells", annotations.shape[1])
    tables = []
    for name, values in annotations.items():
        cells = values.notna().to_numpy() & (codes >= 0)
        if cells.sum() >= MIN_CELLS:
            mean = np.asarray(expression[cells].mean(axis=0)).ravel()
            found = stratified_spearman(expression[cells], _as_numbers(values[cells]), codes[cells])
            for contrast, tests in found.items():
                table = tests.rename(columns={"rho": "effect"}).assign(
                    column=str(name),
                    contrast=contrast,
                    group=ALL,
                    gene=counts.var_names[genes].to_numpy(),
                    unit="cell",
                    test="Spearman",
                    n=int(cells.sum()),
                    n_blocks=0,
                    p_adjusted=benjamini_hochberg(tests["p"].to_numpy()),
                    mean_expression=mean,
                    effect_size=tests["rho"].abs(),
                )
                tables.append(table[table["p"].notna()])
        progress.advance()
    return tables


def _as_numbers(values: pd.Series) -> pd.DataFrame:
    """The number itself, or one column of 1 and 0 a category; of two categories the second is enough."""
    if is_number(values):
        return pd.DataFrame({SLOPE: values})
    levels = list(values.cat.remove_unused_categories().cat.categories)
    if len(levels) == 2:
        return pd.DataFrame({f"{levels[1]} vs {levels[0]}": (values == levels[1]).astype(float)})
    return pd.DataFrame({f"{level} vs rest": (values == level).astype(float) for level in levels})
