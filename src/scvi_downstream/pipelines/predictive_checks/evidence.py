"""One pass over cells: everything that the checks need to know of what was observed and generated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from scvi_downstream.pipelines.predictive_checks.draws import Draw
from scvi_downstream.runtime.progress import Progress

_SCALE = 1e4


def most_variable_genes(counts: sparse.csr_matrix, n_genes: int) -> np.ndarray:
    """Positions of the genes whose log-normalised counts vary most.

    Parameters
    ----------
    counts
        ``(n_cells, n_all_genes)`` of training cells.
    n_genes
        How many; all where there are fewer.
    """
    total = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), 1)
    logs = sparse.csr_matrix(sparse.diags(_SCALE / total) @ counts)
    logs.data = np.log1p(logs.data)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:n_genes])


@dataclass(eq=False)
class Correlations:
    """Cross-products of log-normalised counts of some genes, added up block by block.

    Attributes
    ----------
    genes
        ``(n_genes,)`` positions.
    products, sums
        ``(1 + n_samples, n_genes, n_genes)`` and ``(1 + n_samples, n_genes)``; the first is what was observed.
    n_cells
        Added so far.
    """

    genes: np.ndarray
    n_samples: int
    n_cells: int = 0
    products: np.ndarray = field(init=False)
    sums: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n_genes = len(self.genes)
        self.products = np.zeros((1 + self.n_samples, n_genes, n_genes))
        self.sums = np.zeros((1 + self.n_samples, n_genes))

    def add(self, counts: np.ndarray, totals: np.ndarray) -> None:
        """Add a block of cells.

        Parameters
        ----------
        counts
            ``(1 + n_samples, n_cells, n_all_genes)``, the observed ones first.
        totals
            ``(1 + n_samples, n_cells)`` counts of all genes of each cell and draw.
        """
        scale = (_SCALE / np.maximum(totals, 1)).astype(np.float32)
        logs = np.log1p(counts[:, :, self.genes] * scale[:, :, None])
        self.n_cells += counts.shape[1]
        self.sums += logs.sum(axis=1)
        self.products += logs.transpose(0, 2, 1) @ logs

    def matrices(self) -> np.ndarray:
        """``(1 + n_samples, n_genes, n_genes)`` correlations; 0 where a gene does not vary."""
        mean = self.sums / self.n_cells
        covariance = self.products / self.n_cells - mean[:, :, None] * mean[:, None, :]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        varies = variance > 1e-6 * np.maximum(mean**2, 1)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
        return covariance * scale[:, :, None] * scale[:, None, :]

    def pairs(self) -> np.ndarray:
        """``(1 + n_samples, n_pairs)`` correlations above the diagonal, row by row."""
        above = np.triu_indices(len(self.genes), 1)
        return self.matrices()[:, above[0], above[1]]


MEASURES = ("mean", "zeros", "spread")
"""Mean count; share of zeros; mean squared deviation of log(1 + count) from its mean in training cells."""


@dataclass(eq=False)
class GeneMoments:
    """Sums over cells, added up block by block.

    Cells are independent of each other given the model, so that the cumulants of a sum over cells are the sums of
    the cells' cumulants, and each of these is known from all draws of the cell: far better than from the sums of
    the few sets of draws.

    Attributes
    ----------
    center
        ``(n_genes,)`` mean of log(1 + count) in training cells.
    sums, squares, zeros
        ``(1 + n_samples, n_genes)``; the first row is what was observed, the others one set of draws each.
    observed, mean, variance, third
        ``(3, n_genes)`` of :data:`MEASURES`: observed sum, and the first three cumulants of the generated one.
    n_cells
        Added so far.
    """

    center: np.ndarray
    n_samples: int
    n_cells: int = 0
    sums: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    zeros: np.ndarray = field(init=False)
    observed: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    variance: np.ndarray = field(init=False)
    third: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n_genes = len(self.center)
        self.sums, self.squares, self.zeros = np.zeros((3, 1 + self.n_samples, n_genes))
        self.observed, self.mean, self.variance, self.third = np.zeros((4, len(MEASURES), n_genes))

    def add(self, counts: np.ndarray, logs: np.ndarray) -> None:
        """Add a block of cells.

        Parameters
        ----------
        counts, logs
            ``(1 + n_samples, n_cells, n_genes)`` counts and log(1 + count), the observed ones first.
        """
        zero = counts == 0
        self.n_cells += counts.shape[1]
        self.sums += counts.sum(axis=1)
        self.squares += np.einsum("scg,scg->sg", counts, counts)
        self.zeros += zero.sum(axis=1)
        deviations = logs - self.center.astype(np.float32)
        np.square(deviations, out=deviations)
        for row, values in enumerate((counts, zero.astype(np.float32), deviations)):
            self.observed[row] += values[0].sum(axis=0)
            mean, variance, third = _cumulants(values[1:])
            self.mean[row] += mean.sum(axis=0, dtype=np.float64)
            self.variance[row] += variance.sum(axis=0, dtype=np.float64)
            self.third[row] += third.sum(axis=0, dtype=np.float64)


def _cumulants(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unbiased first three cumulants over draws (k-statistics), each ``(n_cells, n_genes)``."""
    n = len(draws)
    mean = draws.mean(axis=0)
    deviations = draws - mean
    powers = deviations * deviations
    second = powers.mean(axis=0) * (n / (n - 1))
    powers *= deviations
    return mean, second, powers.mean(axis=0) * (n * n / ((n - 1) * (n - 2)))


N_BINS = 40
"""Of the probability integral transform; the bounds of intervals of 50, 80 and 95 % are bounds of bins."""
STRATA = ("below 0.1", "0.1 to 1", "1 and more")
"""Genes by their mean count in training cells, which no draw decides."""
_BOUNDS = (0.1, 1.0)
_INSIDE = 0.475


def gene_strata(training_mean: np.ndarray) -> np.ndarray:
    """Position in :data:`STRATA` of each gene, ``(n_genes,)``, from its mean count in training cells."""
    return np.digitize(training_mean, _BOUNDS)


@dataclass(eq=False)
class Ranks:
    """Randomised probability integral transforms (PIT) and continuous ranked probability scores, by cell and stratum.

    Where the observed count is one more draw of the predictive distribution, its rank among the draws, ties broken
    at random, is uniform: exactly, for discrete counts and any number of draws. So is the share of counts within
    a central interval of it, which for intervals of whole counts would be larger than nominal.

    Attributes
    ----------
    strata
        ``(n_genes,)`` of :func:`gene_strata`.
    histograms
        One ``(n_cells, n_strata, 40)`` number of counts per block.
    scores, expected_scores
        One ``(n_cells, n_strata)`` sum per block: scores on log(1 + count), of the observed counts and expected of
        counts that come from the predictive distribution itself.
    inside
        ``(n_genes,)`` cells whose count lies in the central 95 %.

    References
    ----------
    Czado, Gneiting & Held (2009), doi:10.1111/j.1541-0420.2009.01191.x; Gneiting & Raftery (2007),
    doi:10.1198/016214506000001437; Bosse et al. (2023), doi:10.1371/journal.pcbi.1011393.
    """

    strata: np.ndarray
    rng: np.random.Generator
    histograms: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    expected_scores: list[np.ndarray] = field(default_factory=list)
    inside: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.inside = np.zeros(len(self.strata))

    def add(self, counts: np.ndarray, logs: np.ndarray) -> None:
        """Add a block of cells.

        Parameters
        ----------
        counts, logs
            ``(1 + n_samples, n_cells, n_genes)`` counts and log(1 + count), the observed ones first.
        """
        pit = randomised_pit(counts[0], counts[1:], self.rng)
        self.inside += (np.abs(pit - 0.5) <= _INSIDE).sum(axis=0)
        self.histograms.append(self._histogram(pit))
        score, spread = ranked_probability_score(logs[0], logs[1:])
        by_stratum = np.eye(len(STRATA))[self.strata]
        self.scores.append(score @ by_stratum)
        self.expected_scores.append(spread @ by_stratum)

    def _histogram(self, pit: np.ndarray) -> np.ndarray:
        n_cells, n_strata = len(pit), len(STRATA)
        bins = np.minimum((pit * N_BINS).astype(np.int64), N_BINS - 1)
        flat = (np.arange(n_cells)[:, None] * n_strata + self.strata) * N_BINS + bins
        counted = np.bincount(flat.ravel(), minlength=n_cells * n_strata * N_BINS)
        return counted.reshape(n_cells, n_strata, N_BINS)


def randomised_pit(observed: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of the observed among its draws, as a number in [0, 1), ties broken at random.

    Parameters
    ----------
    observed
        ``(n_cells, n_genes)``.
    draws
        ``(n_samples, n_cells, n_genes)``.
    rng
        Of the ties and of the place within a rank.
    """
    below = np.count_nonzero(draws < observed, axis=0)
    ties = np.count_nonzero(draws == observed, axis=0)
    return (below + rng.random(observed.shape) * (ties + 1)) / (len(draws) + 1)


def ranked_probability_score(observed: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuous ranked probability score from draws (lower is better), and what it would be were the draws right.

    ``E|X - x| - E|X - X'| / 2``; X' is the next draw, so that the estimate is unbiased without sorting.

    Parameters
    ----------
    observed
        ``(n_cells, n_genes)``.
    draws
        ``(n_samples, n_cells, n_genes)``.
    """
    distance = np.abs(draws - observed).mean(axis=0)
    spread = np.abs(draws - np.roll(draws, 1, axis=0)).mean(axis=0) / 2
    return distance - spread, spread


_ENTRIES_AT_ONCE = 4_000_000
_MOST_CELLS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class GeneReference:
    """What training cells say of the genes, fixed before anything is drawn.

    Attributes
    ----------
    mean, log_mean
        ``(n_genes,)`` mean count, and mean of log(1 + count).
    strata
        ``(n_genes,)`` of :func:`.ranks.gene_strata`.
    correlated
        Positions of the genes whose correlations are compared.
    n_cells
        Number of training cells.
    """

    mean: np.ndarray
    log_mean: np.ndarray
    strata: np.ndarray
    correlated: np.ndarray
    n_cells: int


def gene_reference(training: sparse.csr_matrix, n_correlated: int) -> GeneReference:
    """Means, strata and most variable genes of ``(n_cells, n_genes)`` counts of training cells."""
    logs = training.astype(np.float64)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    logs.data = np.log1p(logs.data)
    return GeneReference(
        mean=mean,
        log_mean=np.asarray(logs.mean(axis=0)).ravel(),
        strata=gene_strata(mean),
        correlated=most_variable_genes(training, n_correlated),
        n_cells=training.shape[0],
    )


@dataclass(eq=False)
class Evidence:
    """What one source generated for some cells, beside what was observed.

    Attributes
    ----------
    source
        ``model``, ``population``, ``nb`` or ``poisson``.
    cells
        ``held-out`` or ``training``.
    genes, ranks, correlations
        By gene; by cell and stratum; by pair of genes.
    totals, cell_zeros
        ``(1 + n_samples, n_cells)`` counts and zeros of each cell, observed first.
    """

    source: str
    cells: str
    genes: GeneMoments
    ranks: Ranks
    correlations: Correlations
    totals: np.ndarray = field(init=False)
    cell_zeros: np.ndarray = field(init=False)

    @property
    def n_cells(self) -> int:
        """Cells compared."""
        return self.genes.n_cells


def gather(
    draw: Draw,
    counts: sparse.csr_matrix,
    positions: np.ndarray,
    reference: GeneReference,
    *,
    source: str,
    cells: str,
    n_samples: int,
    seed: int,
) -> Evidence:
    """Draw counts of some cells and add up what the checks need; no more than a block of draws is ever held.

    Parameters
    ----------
    draw
        Generates counts.
    counts
        ``(n_cells, n_genes)`` observed counts of all cells.
    positions
        Of the cells to compare.
    reference
        Of training cells.
    source, cells
        Names of what generates, and of which cells these are.
    n_samples
        Draws of each cell.
    seed
        Of the ties between draws and observed counts.
    """
    n_genes = counts.shape[1]
    evidence = Evidence(
        source,
        cells,
        GeneMoments(reference.log_mean, n_samples),
        Ranks(reference.strata, np.random.default_rng(seed)),
        Correlations(reference.correlated, n_samples),
    )
    at_once = int(np.clip(_ENTRIES_AT_ONCE // (n_samples * n_genes), 1, _MOST_CELLS_AT_ONCE))
    totals, zeros = [], []
    progress = Progress(f"generating counts of {cells} cells ({source})", len(positions))
    for start in range(0, len(positions), at_once):
        block = positions[start : start + at_once]
        observed = counts[block].toarray().astype(np.float32)
        both = np.concatenate([observed[None], draw(block)])
        logs = np.log1p(both)
        totals.append(both.sum(axis=2))
        zeros.append(np.count_nonzero(both == 0, axis=2))
        evidence.genes.add(both, logs)
        evidence.ranks.add(both, logs)
        evidence.correlations.add(both, totals[-1])
        progress.advance(len(block))
    evidence.totals, evidence.cell_zeros = np.concatenate(totals, axis=1), np.concatenate(zeros, axis=1)
    return evidence


_LEAST_SKEW = 1e-3


def tail_probabilities(z: np.ndarray, skewness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of at most and of at least ``z`` under a Pearson type III (shifted gamma) distribution.

    A sum over cells of counts that are mostly zero is skewed long after its mean and variance are well known: a
    normal tail calls rare genes unlike too often.

    Parameters
    ----------
    z
        Deviations from the mean in standard deviations, of any shape.
    skewness
        Third standardised cumulants, of the same shape.

    References
    ----------
    Pearson (1895), doi:10.1098/rsta.1895.0010.
    """
    from scipy.special import gammainc, gammaincc

    sign, shape = _gamma(skewness)
    at = np.maximum(shape + sign * np.asarray(z, dtype=np.float64) * np.sqrt(shape), 0)
    below, above = gammainc(shape, at), gammaincc(shape, at)
    return np.where(sign > 0, below, above), np.where(sign > 0, above, below)


def quantiles(probability: float, skewness: np.ndarray) -> np.ndarray:
    """Standardised quantiles of the distribution of :func:`tail_probabilities`.

    Parameters
    ----------
    probability
        In (0, 1).
    skewness
        Third standardised cumulants.
    """
    from scipy.special import gammaincinv

    sign, shape = _gamma(skewness)
    return (
        sign * (gammaincinv(shape, np.where(sign > 0, probability, 1 - probability)) - shape) / np.sqrt(shape)
    )


def _gamma(skewness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    skew = np.asarray(skewness, dtype=np.float64)
    sign = np.where(skew < 0, -1.0, 1.0)
    return sign, 4 / np.maximum(np.abs(skew), _LEAST_SKEW) ** 2
