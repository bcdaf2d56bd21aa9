"""Negative-binomial regression of all genes at once on one design, and the test of some of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.statistics.moderated import LinearFit, moderate, natural_spline_columns

BLOCK_VALUES = 2**17  # Counts that are dense at a time: 1 MB, what a processor keeps near.
MAX_ITERATIONS = 50  # Steps of Fisher scoring; a gene that needs more has not converged.
TOLERANCE = 1e-9  # Share of the loss below which a step has changed nothing.
HALVINGS = 12  # Halvings of a step that raises the loss: the last is smaller than a thousandth of the step.
LARGEST_LOG_MEAN = 30.0  # No cell holds so many counts, and squares of the mean can still be computed.
# Precision of the prior of every coefficient but the first: a standard deviation of 10 on the log scale keeps genes
# that are absent from a stretch of pseudotime finite, and moves no other.
PRIOR_PRECISION = 0.01
SMALLEST_DISPERSION = 1e-4  # As good as Poisson.
# Bins of the trend of the dispersion over means: genes in each, and how many at most.
GENES_PER_BIN, MOST_BINS = 50, 20
# Weight outside the outermost knots, where the spline is a straight line: ends are wild otherwise (Harrell 2015).
OUTERMOST = 0.025


@dataclass(frozen=True, eq=False)
class Observations:
    """Counts, and what they are explained by.

    ``counts`` are ``(n_cells, n_genes)`` raw counts, each gene with at least one, ``design`` is ``(n_cells,
    n_coefficients)`` of full rank, ones first, ``offset`` the ``(n_cells,)`` natural logarithm of what counts are
    relative to, and ``weights`` say in (0, 1] how much of a cell counts.
    """

    counts: sparse.csc_matrix
    design: np.ndarray
    offset: np.ndarray
    weights: np.ndarray

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, columns = np.triu_indices(self.design.shape[1])
        products = (self.design[:, rows] * self.design[:, columns]).T
        return rows, columns, np.ascontiguousarray(products)

    def information(self, weights: np.ndarray) -> np.ndarray:
        """Sums over cells of products of two columns of the design: ``(n_genes, n_coefficients, n_coefficients)``.

        ``weights`` are those of the cells, ``(n_cells, n_genes)``: other ones for each gene.
        """
        rows, columns, products = self._pairs
        n_coefficients = self.design.shape[1]
        sums = np.empty((weights.shape[1], n_coefficients, n_coefficients))
        sums[:, rows, columns] = sums[:, columns, rows] = (products @ weights).T
        return sums

    @property
    def log_mean(self) -> np.ndarray:
        """``(n_genes,)`` natural logarithms of the weighted mean counts."""
        return np.log(np.asarray(self.counts.T @ self.weights).ravel() / self.weights.sum())

    def gene_blocks(self) -> Iterator[slice]:
        """Genes whose counts are dense together, all of them in turn."""
        n_cells, n_genes = self.counts.shape
        size = max(1, BLOCK_VALUES // n_cells)
        for start in range(0, n_genes, size):
            yield slice(start, start + size)

    def means(self, coefficients: np.ndarray) -> np.ndarray:
        """Fitted means, cells × genes, of ``(n_coefficients, n_genes)`` coefficients."""
        return np.exp(np.minimum(self.offset[:, None] + self.design @ coefficients, LARGEST_LOG_MEAN))

    def fitted_means(self, coefficients: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Genes, their counts and fitted means, cells × genes, some genes at a time."""
        for genes in self.gene_blocks():
            yield genes, self.counts[:, genes].toarray(), self.means(coefficients[:, genes])


@dataclass(frozen=True, eq=False)
class CountFit:
    """Regressions of ``n_genes`` on ``n_coefficients``.

    ``coefficients`` are ``(n_coefficients, n_genes)`` natural logarithms, ``covariance`` is the ``(n_genes,
    n_coefficients, n_coefficients)`` inverse information, for a quasi-dispersion of 1, and ``deviance`` the
    ``(n_genes,)`` -2 log-likelihood up to a constant of the gene; ``converged`` is ``(n_genes,)``.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    deviance: np.ndarray
    converged: np.ndarray


def fit_counts(observed: Observations, dispersion: np.ndarray, start: np.ndarray | None = None) -> CountFit:
    """Weighted maximum likelihood with a log link, by Fisher scoring.

    ``dispersion`` is given, ``(n_genes,)`` and at least 0.0001, which is as good as Poisson; ``start`` are coefficients
    to begin with, or else the mean.
    """
    progress = Progress("negative-binomial regressions", observed.counts.shape[1])
    parts = []
    for genes in observed.gene_blocks():
        block = _Block(observed, genes, dispersion)
        parts.append(block.fit(None if start is None else start[:, genes]))
        progress.advance(block.y.shape[1])
    coefficients, covariance, deviance, converged = zip(*parts, strict=True)
    others = (np.concatenate(each) for each in (covariance, deviance, converged))
    return CountFit(np.concatenate(coefficients, axis=1), *others)


class _Block:
    """Genes that are fitted together; all matrices are cells × genes."""

    def __init__(self, observed: Observations, genes: slice, dispersion: np.ndarray) -> None:
        self.observed, self.design, self.alpha = observed, observed.design, dispersion[genes]
        self.y = observed.counts[:, genes].toarray().astype(np.float64)
        self.weights = observed.weights[:, None]
        self.prior = np.full(self.design.shape[1], PRIOR_PRECISION)
        self.prior[0] = 0
        # Sums over cells of counts by what their log means are linear in.
        weighted = self.weights * self.y
        self.score, self.constant = self.design.T @ weighted, observed.offset @ weighted

    def fit(self, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if start is None:
            start = np.zeros((self.design.shape[1], self.y.shape[1]))
            exposure = float((self.weights[:, 0] * np.exp(self.observed.offset)).sum())
            start[0] = np.log((self.weights * self.y).sum(axis=0) / exposure)
        beta = start.copy()
        genes = np.arange(self.y.shape[1])
        y, mu = self.y, self.observed.means(beta)
        loss = self._loss(y, mu, beta, genes)
        for _ in range(MAX_ITERATIONS):
            score, information = self._derivatives(y, mu, beta[:, genes], genes)
            step = np.linalg.solve(information, score.T[..., None])[..., 0].T
            moved, mu, new = self._descend(y, beta[:, genes], step, loss[genes], genes)
            done = loss[genes] - new <= TOLERANCE * (np.abs(new) + 1)
            beta[:, genes], loss[genes] = moved, np.minimum(new, loss[genes])
            if done.all():
                genes = genes[:0]
                break
            if done.any():
                genes, y, mu = genes[~done], y[:, ~done], mu[:, ~done]
        everything = np.arange(self.y.shape[1])
        mu = self.observed.means(beta)
        _, information = self._derivatives(self.y, mu, beta, everything)
        deviance = loss - self.prior @ beta**2
        return beta, np.linalg.inv(information), deviance, ~np.isin(everything, genes)

    def _loss(self, y: np.ndarray, mu: np.ndarray, beta: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """-2 log-likelihood, penalised; what does not depend on ``beta`` is left out."""
        alpha = self.alpha[genes]
        gained = self.constant[genes] + np.einsum("cg,cg->g", self.score[:, genes], beta)
        terms = np.log1p(alpha * mu)
        terms *= y + 1 / alpha
        return -2 * (gained - self.weights[:, 0] @ terms) + self.prior @ beta**2

    def _derivatives(
        self, y: np.ndarray, mu: np.ndarray, beta: np.ndarray, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        shared = self.weights / (1 + self.alpha[genes] * mu)
        score = self.design.T @ (shared * (y - mu)) - self.prior[:, None] * beta
        return score, self.observed.information(shared * mu) + np.diag(self.prior + 1e-12)

    def _descend(
        self, y: np.ndarray, beta: np.ndarray, step: np.ndarray, loss: np.ndarray, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The step, halved for the genes whose loss would rise."""
        moved = beta + step
        mu = self.observed.means(moved)
        new = self._loss(y, mu, moved, genes)
        for _ in range(HALVINGS):
            worse = np.flatnonzero(~(new <= loss + TOLERANCE * (np.abs(loss) + 1)))
            if not len(worse):
                break
            step[:, worse] /= 2
            moved[:, worse] = beta[:, worse] + step[:, worse]
            mu[:, worse] = self.observed.means(moved[:, worse])
            new[worse] = self._loss(y[:, worse], mu[:, worse], moved[:, worse], genes[worse])
        return moved, mu, new


@dataclass(frozen=True, eq=False)
class NestedFit:
    """A model, and the test of those of its columns that a smaller model leaves out.

    ``full`` is the fit of all columns. ``(n_genes,)`` are the ``dispersion`` of the negative binomial, the trend over
    means, the ``quasi_dispersion``, a factor of the variance that is the gene's own, moderated, with ``df`` degrees
    of freedom, and the quasi-score χ², ``statistic``, with ``n_tested`` degrees of freedom and p-value ``p``.
    """

    full: CountFit
    dispersion: np.ndarray
    quasi_dispersion: np.ndarray
    df: float
    statistic: np.ndarray
    p: np.ndarray
    n_tested: int


def fit_nested(observed: Observations, n_kept: int) -> NestedFit:
    r"""Fit a design, and test whether its last columns matter.

    The variance of a count is :math:`\phi_g (\mu + \alpha \mu^2)`: :math:`\alpha` follows the mean over genes,
    :math:`\phi_g` is the gene's own. The test is Rao's, with :math:`\phi_g` from the residuals of the smaller model:
    likelihood-ratio and Wald tests call sparse genes far too often, as a curve that bends round a few cells leaves
    too small residuals. Intervals take :math:`\phi_g` of the full model, drawn towards that of genes of alike means.

    Parameters
    ----------
    observed
        Counts and design.
    n_kept
        Columns of the design that the smaller model keeps: the first ones.

    References
    ----------
    Rao (1948), doi:10.1017/S0305004100023987; quasi-likelihood of counts: Lund et al. (2012),
    doi:10.1515/1544-6115.1826; moderation: Smyth (2004), doi:10.2202/1544-6115.1027.
    """
    from scipy import stats

    weights, n_coefficients, log_mean = observed.weights, observed.design.shape[1], observed.log_mean
    dispersion, poisson = _dispersion(observed, log_mean)
    full = fit_counts(observed, dispersion, poisson.coefficients)
    df, nothing = max(round(weights.sum()) - n_coefficients, 1), np.empty((0, 0))
    phi = _quasi_dispersion(observed, dispersion, full) * weights.sum() / df
    variances = moderate(LinearFit(nothing, nothing, phi, df), trend=log_mean)
    statistic, n_tested = _score_statistic(observed, n_kept, dispersion), n_coefficients - n_kept
    p = stats.chi2.sf(statistic, n_tested)
    return NestedFit(full, dispersion, variances.values, variances.df, statistic, p, n_tested)


def score_statistic(observed: Observations, n_kept: int) -> np.ndarray:
    """The ``statistic`` of :func:`fit_nested` alone, ``(n_genes,)``."""
    return _score_statistic(observed, n_kept, _dispersion(observed, observed.log_mean)[0])


def _quasi_dispersion(observed: Observations, dispersion: np.ndarray, fit: CountFit) -> np.ndarray:
    """How much larger squared residuals are than expected, a cell counting by its information.

    Pearson's statistic would let one count where next to none is expected decide.
    """
    phi, weights = np.empty(len(dispersion)), observed.weights
    for genes, y, mu in observed.fitted_means(fit.coefficients):
        shrink = 1 / (1 + dispersion[genes] * mu)
        phi[genes] = (weights @ ((y - mu) * shrink) ** 2) / (weights @ (mu * shrink))
    return phi


def _score_statistic(observed: Observations, n_kept: int, dispersion: np.ndarray) -> np.ndarray:
    """Rao's statistic of the columns that the small model leaves out, ``(n_genes,)``."""
    weights, n_tested = observed.weights[:, None], observed.design.shape[1] - n_kept
    kept, tested = slice(None, n_kept), slice(n_kept, None)
    small = replace(observed, design=observed.design[:, kept])
    statistic = np.empty(len(dispersion))
    squared = weights**2
    for genes, y, mu in small.fitted_means(fit_counts(small, dispersion).coefficients):
        shrink = 1 / (1 + dispersion[genes] * mu)
        residuals = (y - mu) * shrink
        phi = (squared * residuals**2).sum(axis=0) / (squared * mu * shrink).sum(axis=0)
        information = observed.information(weights * mu * shrink)
        variance = observed.information(squared * mu * shrink)
        explained = np.linalg.solve(information[:, kept, kept], information[:, kept, tested])
        identity = np.broadcast_to(np.eye(n_tested), (len(explained), n_tested, n_tested))
        left = np.concatenate([-explained.transpose(0, 2, 1), identity], axis=2)
        score = np.einsum("gij,jg->gi", left, observed.design.T @ (weights * residuals))
        spread = left @ variance @ left.transpose(0, 2, 1)
        solved = np.linalg.solve(spread, score[..., None])[..., 0]
        statistic[genes] = np.einsum("gi,gi->g", score, solved) / phi
    return statistic


def _dispersion(observed: Observations, log_mean: np.ndarray) -> tuple[np.ndarray, CountFit]:
    """The trend of genes' dispersions by moments about their Poisson fits, and these fits."""
    poisson = fit_counts(observed, np.full(observed.counts.shape[1], SMALLEST_DISPERSION))
    weights, total = observed.weights, observed.weights.sum()
    lost = total / max(total - observed.design.shape[1], 1)
    dispersion = np.empty(observed.counts.shape[1])
    for genes, y, mu in observed.fitted_means(poisson.coefficients):
        dispersion[genes] = (lost * (weights @ (y - mu) ** 2) - weights @ mu) / (weights @ mu**2)
    return _trend(dispersion, log_mean), poisson


def _trend(dispersion: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """Median dispersion of genes of alike means, with straight lines between."""
    n_bins = int(np.clip(len(dispersion) // GENES_PER_BIN, 1, MOST_BINS))
    bins = np.array_split(np.argsort(log_mean, kind="stable"), n_bins)
    middles = [float(np.median(log_mean[each])) for each in bins]
    medians = [float(np.median(dispersion[each])) for each in bins]
    return np.maximum(np.interp(log_mean, middles, medians), SMALLEST_DISPERSION)


@dataclass(frozen=True, eq=False)
class NaturalSpline:
    """Basis of the natural cubic splines, the constant left out.

    ``knots`` are ``(n_knots,)`` ascending places of pseudotime; ``centre`` and ``transform``, ``(n_knots - 1,)`` and
    ``(n_knots - 1, n_knots - 1)``, make the columns of mean 0 and variance 1 and uncorrelated over the cells that the
    basis was made for.
    """

    knots: np.ndarray
    centre: np.ndarray
    transform: np.ndarray

    def columns(self, pseudotime: np.ndarray) -> np.ndarray:
        """Values of the basis, ``(n_places, n_knots - 1)``."""
        return (natural_spline_columns(pseudotime, self.knots) - self.centre) @ self.transform


def natural_spline(pseudotime: np.ndarray, n_knots: int, weights: np.ndarray | None = None) -> NaturalSpline:
    """A basis with knots at even weighted quantiles of pseudotime, ``(n_cells,)`` and finite.

    Two knots give a straight line, and knots that coincide count once; ``weights`` of ``None``: all cells count
    alike.

    Raises
    ------
    InputError
        When pseudotime is constant.
    """
    weights = np.ones(len(pseudotime)) if weights is None else weights
    shares = np.linspace(OUTERMOST, 1 - OUTERMOST, max(n_knots, 2))
    knots = np.unique(weighted_quantile(pseudotime, shares, weights))
    if len(knots) < 2:
        raise InputError(
            f"pseudotime is the same ({pseudotime[0]:g}) in nearly all {len(pseudotime)} cells, so nothing can "
            "change along it; look at the start of the trajectory"
        )
    raw = natural_spline_columns(pseudotime, knots)
    centre = np.average(raw, axis=0, weights=weights)
    r = np.linalg.qr((raw - centre) * np.sqrt(weights / weights.sum())[:, None], mode="r")
    return NaturalSpline(knots, centre, np.linalg.inv(r))


def weighted_quantile(values: np.ndarray, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values below which the given shares of the weight lie, with straight lines between cells."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, below / weights.sum(), values[order])
