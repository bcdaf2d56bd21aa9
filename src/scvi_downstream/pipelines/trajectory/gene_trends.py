"""Smooth expression of genes along the pseudotime of each lineage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.trajectory.count_regression import (
    NaturalSpline,
    NestedFit,
    Observations,
    fit_nested,
    natural_spline,
    score_statistic,
)
from scvi_downstream.pipelines.trajectory.options import ORDER_COLUMNS, Order
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import track

COUNTS_PER = 10_000  # Levels of expression are counts per so many counts of the cell.
MIN_CELLS = 10  # Cells of a lineage that must hold a gene; fewer say nothing about a curve.
CELLS_PER_COEFFICIENT = 5  # Cells that a lineage must hold for each knot of its curve.
PRIOR_COUNT = 0.1  # Count that is added in a cell of average depth before ratios are taken.
CONFIDENCE = 0.95  # Share of the samples whose interval holds the truth.


@dataclass(frozen=True, eq=False)
class GeneCounts:
    """Cells, and the genes to follow in them.

    ``counts`` are ``(n_cells, n_genes)`` raw, ``genes`` the names of the columns, ``library_size`` the ``(n_cells,)``
    total counts over all genes measured. With the ``batches`` of the cells, curves are of the average cell's batch;
    ``None``: batches are not told apart.
    """

    counts: sparse.csr_matrix
    genes: pd.Index
    library_size: np.ndarray
    batches: pd.Series | None = None

    def take(self, cells: np.ndarray, genes: np.ndarray | slice = slice(None)) -> GeneCounts:
        """Those of the cells and genes at these positions."""
        batches = None if self.batches is None else self.batches.iloc[cells]
        return GeneCounts(self.counts[:, genes][cells], self.genes[genes], self.library_size[cells], batches)

    @property
    def offset(self) -> np.ndarray:
        """``(n_cells,)`` natural logarithm of the library sizes in units of 10,000 counts."""
        return np.log(self.library_size / COUNTS_PER)

    def in_enough_cells(self) -> tuple[sparse.csc_matrix, np.ndarray]:
        """Counts by column, and positions of the genes that at least 10 cells hold."""
        columns = sparse.csc_matrix(self.counts)
        columns.eliminate_zeros()
        return columns, np.flatnonzero(np.diff(columns.indptr) >= MIN_CELLS)


def prior_level(offset: np.ndarray, weights: np.ndarray) -> float:
    """A tenth of a count in a cell of average depth, as counts per 10,000; added before ratios are taken.

    A gene that goes from next to nothing to ten times that has not changed tenfold.
    """
    return PRIOR_COUNT / float(np.average(np.exp(offset), weights=weights))


@dataclass(frozen=True, eq=False)
class LineageTrends:
    """Curves of one lineage's genes.

    ``genes`` are the names of all ``n_genes`` genes, ``fitted`` the ``(n_fitted,)`` positions of those that are in at
    least 10 cells of the lineage, ``mean`` the ``(n_genes,)`` weighted mean counts per 10,000; ``spline`` is the
    basis of pseudotime, ``prior_level`` that of :func:`prior_level`, and ``fit`` the regression of the fitted genes:
    the constant first, then batches, then the spline.
    """

    lineage: str
    genes: pd.Index
    fitted: np.ndarray
    mean: np.ndarray
    spline: NaturalSpline
    prior_level: float
    fit: NestedFit

    @property
    def span(self) -> tuple[float, float]:
        """Outermost knots, which hold the middle 95 % of the weight.

        Curves are drawn and judged between them, as a few cells beyond would bend them anyhow.
        """
        return float(self.spline.knots[0]), float(self.spline.knots[-1])

    @property
    def curve(self) -> np.ndarray:
        """Positions of the coefficients of the curve: the constant and the spline."""
        n_coefficients = len(self.fit.full.coefficients)
        return np.r_[0, n_coefficients - len(self.spline.knots) + 1 : n_coefficients]


def lineages_of(trajectory: pd.DataFrame, order: Order) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudotime and weight of each cell on each lineage; one lineage where the order has none of its own."""
    if order != "slingshot":
        times = trajectory[[ORDER_COLUMNS[order]]].set_axis(["all cells"], axis=1)
        return times, times.notna().astype(np.float64)
    found = (trajectory.filter(regex=rf"^slingshot_{kind}_\d+$") for kind in ("pseudotime", "weight"))
    times, weights = (each.rename(columns=lambda name: f"lineage_{name.rsplit('_', 1)[1]}") for each in found)
    return times, weights


def fit_lineages(
    cells: GeneCounts, pseudotimes: pd.DataFrame, weights: pd.DataFrame, *, n_knots: int = 5
) -> tuple[dict[str, LineageTrends], list[str]]:
    """Negative-binomial regression of every gene on a natural spline of pseudotime, lineage by lineage.

    The idea is tradeSeq's (Van den Berge et al. 2020, doi:10.1038/s41467-020-14766-3), with regression splines in
    place of penalised ones and a quasi-score test that holds for sparse genes. Pseudotime is taken as known: its own
    uncertainty is not in the intervals.

    Parameters
    ----------
    cells
        Counts of ``n_cells``.
    pseudotimes, weights
        ``n_cells`` rows, a column a lineage: NaN where a cell is not on it; how much of a cell belongs to it, in [0,
        1].
    n_knots
        Knots of the spline, at even quantiles.

    Returns
    -------
    Lineage → its curves, and why others could not be fitted, in sentences.

    Raises
    ------
    InputError
        When none can be fitted: it has too few cells, its pseudotime does not vary, or batches and pseudotime cannot be
        told apart.
    """
    fitted: dict[str, LineageTrends] = {}
    refused: list[str] = []
    for lineage in track(list(pseudotimes.columns), "Genes along lineages", pseudotimes.shape[1]):
        time, weight = pseudotimes[lineage].to_numpy(float), weights[lineage].to_numpy(float)
        try:
            fitted[lineage] = fit_lineage(cells, time, weight, lineage=lineage, n_knots=n_knots)
        except InputError as error:
            refused.append(f"no genes were followed: {error}")
    if not fitted:
        raise InputError(f"no lineage can be followed by its genes; {'; '.join(refused)}")
    return fitted, refused


@dataclass(frozen=True, eq=False)
class _OnLineage:
    """Genes of a lineage and their design, of which ``n_kept`` columns are there without pseudotime, too."""

    observed: Observations
    n_kept: int
    fitted: np.ndarray
    mean: np.ndarray
    spline: NaturalSpline


def fit_lineage(
    cells: GeneCounts,
    pseudotime: np.ndarray,
    weights: np.ndarray,
    *,
    lineage: str = "lineage 1",
    n_knots: int = 5,
) -> LineageTrends:
    """Curves of one lineage; see :func:`fit_lineages`."""
    on = _observe(cells, pseudotime, weights, lineage, n_knots)
    level = prior_level(on.observed.offset, on.observed.weights)
    fit = fit_nested(on.observed, on.n_kept)
    return LineageTrends(lineage, cells.genes, on.fitted, on.mean, on.spline, level, fit)


def lineage_statistic(
    cells: GeneCounts, pseudotime: np.ndarray, weights: np.ndarray, *, n_knots: int = 5
) -> tuple[np.ndarray, int]:
    """Statistics of the fitted genes of :func:`fit_lineage` without their curves, and the degrees of freedom."""
    on = _observe(cells, pseudotime, weights, "lineage 1", n_knots)
    return score_statistic(on.observed, on.n_kept), on.observed.design.shape[1] - on.n_kept


def _observe(
    cells: GeneCounts, pseudotime: np.ndarray, weights: np.ndarray, lineage: str, n_knots: int
) -> _OnLineage:
    chosen = np.flatnonzero(np.isfinite(pseudotime) & (weights > 0) & (cells.library_size > 0))
    time, weight, inside = pseudotime[chosen], np.minimum(weights[chosen], 1.0), cells.take(chosen)
    if weight.sum() < CELLS_PER_COEFFICIENT * n_knots:
        raise InputError(
            f"'{lineage}' holds {weight.sum():.0f} cells, too few for curves of {n_knots} knots; "
            f"{CELLS_PER_COEFFICIENT * n_knots} are needed"
        )
    spline = natural_spline(time, n_knots, weight)
    batch = np.empty((len(time), 0)) if inside.batches is None else _batch_columns(inside.batches, weight)
    design = np.hstack([np.ones((len(time), 1)), batch, spline.columns(time)])
    weighted, tolerance = design * np.sqrt(weight)[:, None], 1e-6 * np.sqrt(len(time))
    if np.linalg.matrix_rank(weighted, tol=tolerance) < design.shape[1]:
        raise InputError(
            f"along '{lineage}' batches and pseudotime cannot be told apart; fit the genes without batches"
        )
    counts, fitted = inside.in_enough_cells()
    if not len(fitted):
        raise InputError(f"no gene is in {MIN_CELLS} cells of '{lineage}', so none can be followed")
    offset = inside.offset
    mean = np.asarray(counts.T @ weight).ravel() / (weight @ np.exp(offset))
    observed = Observations(counts[:, fitted], design, offset, weight)
    return _OnLineage(observed, 1 + batch.shape[1], fitted, mean, spline)


def log_curves(trends: LineageTrends, places: np.ndarray) -> np.ndarray:
    """Natural logarithm of counts per 10,000 at ``n_places`` of pseudotime: ``(n_places, n_fitted)``."""
    basis = np.hstack([np.ones((len(places), 1)), trends.spline.columns(places)])
    return basis @ trends.fit.full.coefficients[trends.curve]


def trend_curves(
    trends: dict[str, LineageTrends], genes: pd.Index | None = None, *, n_places: int = 60
) -> pd.DataFrame:
    """Fitted means on a grid of pseudotime, evenly over the middle 95 % of each lineage, with pointwise intervals.

    One row a lineage, gene and place: ``lineage``, ``gene``, ``pseudotime``, ``mean`` (counts per 10,000),
    ``ci_lower``, ``ci_upper`` (95 %); of ``genes``, or of all that were fitted.
    """
    tables = [_lineage_curves(each, genes, n_places) for each in trends.values()]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(
        lineage=pd.Categorical(table["lineage"], [each.lineage for each in trends.values()]),
        gene=table["gene"].cat.remove_unused_categories(),
    )


def _lineage_curves(trends: LineageTrends, genes: pd.Index | None, n_places: int) -> pd.DataFrame:
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
            "gene": pd.Categorical.from_codes(np.repeat(trends.fitted[shown], n_places), trends.genes),
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
