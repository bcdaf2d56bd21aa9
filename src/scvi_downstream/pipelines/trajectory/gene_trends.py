"""Smooth expression of genes along the pseudotime of each lineage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.trajectory.count_regression import (
    NaturalSpline,
    NestedFit,
    fit_nested,
    natural_spline,
)
from scvi_downstream.runtime.errors import InputError

COUNTS_PER = 10_000
MIN_CELLS = 10
"""Cells of a lineage that must hold a gene; fewer say nothing about a curve."""
CELLS_PER_COEFFICIENT = 5
PRIOR_COUNT = 0.1
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class LineageTrends:
    """Curves of one lineage's genes.

    Attributes
    ----------
    lineage
        Its name.
    genes
        Names of all ``n_genes`` genes.
    fitted
        ``(n_fitted,)`` positions of the genes that are in at least 10 cells of the lineage.
    mean
        ``(n_genes,)`` weighted mean counts per 10,000.
    n_cells, weight
        Cells on the lineage, and the sum of their weights.
    spline, span
        Basis of pseudotime, and the stretch between its outermost knots, which holds the middle 95 % of the weight:
        curves are drawn and judged there, as a few cells beyond would bend them anyhow.
    prior_level
        Counts per 10,000 that are added before ratios are taken: a tenth of a count in a cell of average depth. A gene
        that goes from next to nothing to ten times that has not changed tenfold.
    fit
        Of the fitted genes; the constant first, then batches, then the spline.
    batch_share
        Share of the variance of pseudotime between batches; ``None`` without batches. Where it is large, what
        changes with time is taken for a batch effect.
    """

    lineage: str
    genes: pd.Index
    fitted: np.ndarray
    mean: np.ndarray
    n_cells: int
    weight: float
    spline: NaturalSpline
    span: tuple[float, float]
    prior_level: float
    fit: NestedFit
    batch_share: float | None

    @property
    def curve(self) -> np.ndarray:
        """Positions of the coefficients of the curve: the constant and the spline."""
        n_coefficients = len(self.fit.full.coefficients)
        return np.r_[0, n_coefficients - len(self.spline.knots) + 1 : n_coefficients]


def fit_trends(
    counts: sparse.csr_matrix,
    genes: pd.Index,
    pseudotimes: pd.DataFrame,
    weights: pd.DataFrame,
    library_size: np.ndarray,
    *,
    n_knots: int = 5,
    batches: pd.Series | None = None,
) -> dict[str, LineageTrends]:
    """Negative-binomial regression of every gene on a natural spline of pseudotime, lineage by lineage.

    The idea is tradeSeq's (Van den Berge et al. 2020, doi:10.1038/s41467-020-14766-3), with regression splines in
    place of penalised ones and a quasi-score test that holds for sparse genes. Pseudotime is taken as known: its own
    uncertainty is not in the intervals.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` raw counts.
    genes
        Names of the ``n_genes`` genes.
    pseudotimes
        ``n_cells`` rows, a column a lineage; NaN where a cell is not on it.
    weights
        Of the same shape, in [0, 1]: how much of a cell belongs to the lineage.
    library_size
        ``(n_cells,)`` total counts over all genes measured.
    n_knots
        Knots of the spline, at even quantiles.
    batches
        Batch of each cell: curves are then of the average cell's batch. ``None``: batches are not told apart.

    Returns
    -------
    Lineage → its curves.

    Raises
    ------
    InputError
        When a lineage has too few cells, when its pseudotime does not vary, or when batches and pseudotime
        cannot be told apart.
    """
    if list(pseudotimes.columns) != list(weights.columns) or len(pseudotimes) != counts.shape[0]:
        raise InputError(
            f"pseudotimes ({', '.join(map(str, pseudotimes))}; {len(pseudotimes)} cells) and weights "
            f"({', '.join(map(str, weights))}) must have the same lineages, and counts ({counts.shape[0]} cells) "
            "the same cells"
        )
    return {
        str(lineage): fit_lineage(
            counts, genes, pseudotimes[lineage].to_numpy(float), weights[lineage].to_numpy(float), library_size,
            lineage=str(lineage), n_knots=n_knots, batches=batches,
        )
        for lineage in pseudotimes
    }  # fmt: skip


def fit_lineage(
    counts: sparse.csr_matrix,
    genes: pd.Index,
    pseudotime: np.ndarray,
    weights: np.ndarray,
    library_size: np.ndarray,
    *,
    lineage: str = "lineage 1",
    n_knots: int = 5,
    batches: pd.Series | None = None,
) -> LineageTrends:
    """Curves of one lineage; see :func:`fit_trends`."""
    chosen = np.flatnonzero(np.isfinite(pseudotime) & (weights > 0) & (library_size > 0))
    time, weight = pseudotime[chosen], np.minimum(weights[chosen], 1.0)
    if weight.sum() < CELLS_PER_COEFFICIENT * n_knots:
        raise InputError(
            f"'{lineage}' holds {weight.sum():.0f} cells, too few for curves of {n_knots} knots; "
            f"{CELLS_PER_COEFFICIENT * n_knots} are needed"
        )
    spline = natural_spline(time, n_knots, weight)
    batch = _batch_columns(batches.iloc[chosen], weight) if batches is not None else np.empty((len(time), 0))
    ones = np.ones((len(time), 1))
    design = np.hstack([ones, batch, spline.columns(time)])
    if (
        np.linalg.matrix_rank(design * np.sqrt(weight)[:, None], tol=1e-6 * np.sqrt(len(time)))
        < design.shape[1]
    ):
        raise InputError(
            f"along '{lineage}' batches and pseudotime cannot be told apart; fit the genes without batches"
        )
    on_lineage = sparse.csc_matrix(counts[chosen])
    on_lineage.eliminate_zeros()
    fitted = np.flatnonzero(np.diff(on_lineage.indptr) >= MIN_CELLS)
    if not len(fitted):
        raise InputError(f"no gene is in {MIN_CELLS} cells of '{lineage}', so none can be followed")
    offset = np.log(library_size[chosen] / COUNTS_PER)
    return LineageTrends(
        lineage=lineage,
        genes=genes,
        fitted=fitted,
        mean=np.asarray(on_lineage.T @ weight).ravel() / (weight @ np.exp(offset)),
        n_cells=len(chosen),
        weight=float(weight.sum()),
        spline=spline,
        span=(float(spline.knots[0]), float(spline.knots[-1])),
        prior_level=PRIOR_COUNT / float(np.average(np.exp(offset), weights=weight)),
        fit=fit_nested(on_lineage[:, fitted], design, 1 + batch.shape[1], offset, weight),
        batch_share=_share_between(time, batch, weight) if batches is not None else None,
    )


def log_curves(trends: LineageTrends, places: np.ndarray) -> np.ndarray:
    """Natural logarithm of counts per 10,000 at ``n_places`` of pseudotime: ``(n_places, n_fitted)``."""
    basis = np.hstack([np.ones((len(places), 1)), trends.spline.columns(places)])
    return basis @ trends.fit.full.coefficients[trends.curve]


def trend_curves(
    trends: dict[str, LineageTrends], genes: pd.Index | None = None, *, n_places: int = 60
) -> pd.DataFrame:
    """Fitted means on a grid of pseudotime, with pointwise intervals.

    Parameters
    ----------
    trends
        Of :func:`fit_trends`.
    genes
        Those wanted; ``None``: all that were fitted.
    n_places
        Of the grid, evenly over the middle 95 % of the lineage.

    Returns
    -------
    One row a lineage, gene and place: ``lineage``, ``gene``, ``pseudotime``, ``mean`` (counts per 10,000),
    ``ci_lower``, ``ci_upper`` (95 %).
    """
    tables = [_curves(each, genes, n_places) for each in trends.values()]
    table = pd.concat(tables, ignore_index=True)
    names = next(iter(trends.values())).genes
    return table.assign(
        lineage=pd.Categorical(table["lineage"], [each.lineage for each in trends.values()]),
        gene=pd.Categorical(table["gene"], names[names.isin(table["gene"])]),
    )


def _curves(trends: LineageTrends, genes: pd.Index | None, n_places: int) -> pd.DataFrame:
    from scipy import stats

    names = trends.genes[trends.fitted]
    shown = np.arange(len(names)) if genes is None else np.flatnonzero(names.isin(genes))
    places = np.linspace(*trends.span, n_places)
    basis = np.hstack([np.ones((n_places, 1)), trends.spline.columns(places)])
    log_mean = basis @ trends.fit.full.coefficients[np.ix_(trends.curve, shown)]
    covariance = trends.fit.full.covariance[np.ix_(shown, trends.curve, trends.curve)]
    variance = np.einsum("pi,gij,pj->pg", basis, covariance, basis, optimize=True)
    error = np.sqrt(variance * trends.fit.quasi_dispersion[shown])
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, trends.fit.df) * error
    return pd.DataFrame(
        {
            "lineage": trends.lineage,
            "gene": np.repeat(names[shown], n_places),
            "pseudotime": np.tile(places, len(shown)),
            "mean": np.exp(log_mean).T.ravel(),
            "ci_lower": np.exp(log_mean - reach).T.ravel(),
            "ci_upper": np.exp(np.minimum(log_mean + reach, 50)).T.ravel(),
        }
    )


def _batch_columns(batches: pd.Series, weights: np.ndarray) -> np.ndarray:
    """Indicators of all batches on the lineage but the largest, of mean 0: the constant is the average cell's."""
    codes = pd.factorize(batches)[0]
    if (codes < 0).any():
        raise InputError(f"{int((codes < 0).sum())} cells have no batch; fit the genes without batches")
    sizes = np.bincount(codes, weights=weights)
    kept = np.delete(np.arange(len(sizes)), sizes.argmax())
    columns = (codes[:, None] == kept).astype(np.float64)
    return columns - np.average(columns, axis=0, weights=weights)


def _share_between(time: np.ndarray, batch: np.ndarray, weights: np.ndarray) -> float:
    root = np.sqrt(weights)
    centred = (time - np.average(time, weights=weights)) * root
    columns = batch * root[:, None]
    explained = columns @ np.linalg.lstsq(columns, centred, rcond=None)[0]
    return float((explained @ explained) / (centred @ centred))
