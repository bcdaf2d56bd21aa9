"""Genes whose expression goes together with an annotation that differs between the cells of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.normalization import log_normalize
from scvi_downstream.pipelines.metadata.expression import ALL, collect
from scvi_downstream.progress import Progress
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg
from scvi_downstream.statistics.stratified_spearman import stratified_spearman

if TYPE_CHECKING:
    from anndata import AnnData

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
