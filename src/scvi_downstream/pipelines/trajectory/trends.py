"""Genes along the lineages of a trajectory: fits, tests, and what could not be fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.trajectory.gene_trends import LineageTrends, fit_lineage, trend_curves
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.trend_tests import (
    check_calibration,
    compare_lineages,
    find_dynamic_genes,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import track

if TYPE_CHECKING:
    from anndata import AnnData

_ORDERS = {
    "consensus": "pseudotime",
    "dpt": "dpt_pseudotime",
    "principal_graph": "graph_pseudotime",
}


def symbols_of(counts: AnnData) -> pd.Series:
    """Symbol of each gene, or its name where there are none."""
    names = counts.var.get("symbol", counts.var_names)
    return pd.Series(pd.Index(names).astype(str), index=counts.var_names)


def lineages_of(trajectory: pd.DataFrame, order: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudotime and weight of each cell on each lineage; one lineage where the order has none of its own.

    Parameters
    ----------
    trajectory
        Orders by cell.
    order
        ``slingshot``, ``consensus``, ``dpt`` or ``principal_graph``.
    """
    if order != "slingshot":
        times = trajectory[[_ORDERS[order]]].set_axis(["all cells"], axis=1)
        return times, times.notna().astype(np.float64)
    prefix = "slingshot_pseudotime_"
    numbers = [name.removeprefix(prefix) for name in trajectory if name.startswith(prefix)]
    names = [f"lineage_{number}" for number in numbers]
    times = trajectory[[prefix + number for number in numbers]].set_axis(names, axis=1)
    weights = trajectory[[f"slingshot_weight_{number}" for number in numbers]].set_axis(names, axis=1)
    return times, weights


def trends_of(
    counts: AnnData, trajectory: pd.DataFrame, keys: Keys, options: TrajectoryOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Curves and tests of genes along each lineage.

    Parameters
    ----------
    counts
        Raw counts of ``n_cells`` × all genes.
    trajectory
        Orders of the same cells.
    keys
        The batch.
    options
        Which order, which genes, knots and thresholds.
    seed
        Of the permutations that check the test.

    Returns
    -------
    Curves of the dynamic genes and the ``top_genes`` of each lineage; tests of all genes; tests between lineages; and
    numbers with sentences: lineages that could not be fitted, dynamic genes, errors on permuted pseudotime.

    Raises
    ------
    InputError
        No lineage has enough cells.
    """
    modelled = counts.var["highly_variable"].to_numpy()
    chosen = np.flatnonzero(modelled) if options.trends.genes == "modelled" else np.arange(counts.n_vars)
    matrix = sparse.csr_matrix(counts.X[:, chosen])
    genes = pd.Index(counts.var_names[chosen], name="gene")
    library_size = np.asarray(counts.X.sum(axis=1)).ravel()
    batches = counts.obs[keys.batch_key] if options.trends.correct_batch and keys.batch_key else None
    times, weights = lineages_of(trajectory.loc[counts.obs_names], options.trends.pseudotime)
    fitted, refused = _fit(matrix, genes, times, weights, library_size, options, batches)
    tests = find_dynamic_genes(
        fitted,
        seen=set(counts.var_names[modelled]),
        fdr=options.trends.fdr,
        min_log2_range=options.trends.min_log2_range,
    )
    shown = _shown(tests, options.trends.top_genes)
    first = next(iter(fitted))
    calibration = check_calibration(
        matrix,
        genes,
        times[first].to_numpy(float),
        weights[first].to_numpy(float),
        library_size,
        n_knots=options.trends.n_knots,
        batches=batches,
        seed=seed,
    )
    between = _between(matrix, genes, times[list(fitted)], weights[list(fitted)], library_size, options)
    facts = {
        "n_dynamic": tests.groupby("lineage", observed=True)["dynamic"].sum().to_dict(),
        "n_genes": len(genes),
        "calibration": calibration,
        "sentences": [*_sentences(tests, symbols_of(counts), options, calibration, len(genes)), *refused],
    }
    return trend_curves(fitted, pd.Index(shown)), tests, between, facts


def _fit(
    matrix: sparse.csr_matrix,
    genes: pd.Index,
    times: pd.DataFrame,
    weights: pd.DataFrame,
    library_size: np.ndarray,
    options: TrajectoryOptions,
    batches: pd.Series | None,
) -> tuple[dict[str, LineageTrends], list[str]]:
    fitted: dict[str, LineageTrends] = {}
    refused: list[str] = []
    for lineage in track(list(times.columns), "Genes along lineages", times.shape[1]):
        try:
            fitted[lineage] = fit_lineage(
                matrix,
                genes,
                times[lineage].to_numpy(float),
                weights[lineage].to_numpy(float),
                library_size,
                lineage=lineage,
                n_knots=options.trends.n_knots,
                batches=batches,
            )
        except InputError as error:
            refused.append(f"no genes were followed: {error}")
    if not fitted:
        raise InputError(f"no lineage can be followed by its genes; {'; '.join(refused)}")
    return fitted, refused


def _between(
    matrix: sparse.csr_matrix,
    genes: pd.Index,
    times: pd.DataFrame,
    weights: pd.DataFrame,
    library_size: np.ndarray,
    options: TrajectoryOptions,
) -> pd.DataFrame:
    """Genes that differ between lineages; no rows where there is one."""
    if times.shape[1] < 2:
        names = [
            "lineage",
            "other",
            "gene",
            "n_cells",
            "statistic",
            "df",
            "p",
            "p_adjusted",
            "log2_difference",
            "at",
        ]
        return pd.DataFrame(columns=names)
    return compare_lineages(matrix, genes, times, weights, library_size, n_knots=options.trends.n_knots)


def _shown(tests: pd.DataFrame, top_genes: int) -> list[str]:
    """Dynamic genes, and the first of each lineage where they are few."""
    top = tests.groupby("lineage", observed=True, sort=False).head(top_genes)
    return list(dict.fromkeys([*tests.loc[tests["dynamic"], "gene"], *top["gene"]]))


def _sentences(
    tests: pd.DataFrame,
    symbols: pd.Series,
    options: TrajectoryOptions,
    calibration: dict[str, float],
    n_genes: int,
) -> list[str]:
    counted = tests.groupby("lineage", observed=True)["dynamic"].sum()
    span = f"{counted.min()}" if counted.min() == counted.max() else f"{counted.min()} to {counted.max()}"
    first = tests[tests["dynamic"]].drop_duplicates("gene").nlargest(6, "log2_range")["gene"]
    named = f", the widest {', '.join(symbols.reindex(first))}" if len(first) else ""
    where = "a lineage" if len(counted) > 1 else "pseudotime"
    return [
        f"{span} of {n_genes:,} genes change along {where} by a factor of {2**options.trends.min_log2_range:g} "
        f"or more at FDR {options.trends.fdr:g}{named}; pseudotime was learnt from the modelled genes, so their "
        f"p-values are too small (with pseudotime permuted {calibration['share_0.05']:.1%} of tests have p ≤ 0.05)"
    ]
