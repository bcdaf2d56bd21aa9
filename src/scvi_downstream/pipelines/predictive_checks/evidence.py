"""One pass over cells: everything that the checks need to know of what was observed and generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.pipelines.predictive_checks.draws import (
    CheckedCells,
    Draw,
    fit_dispersions,
    fit_rates,
    negative_binomial_draws,
    own_draws,
    poisson_draws,
    pool_states,
    population_draws,
)
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.scoring.resampling import sample_cells

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

MEASURES = ("mean", "zeros", "spread")
"""Mean count; share of zeros; mean squared deviation of log(1 + count) from its mean in training cells."""
N_BINS = 40
"""Of the probability integral transform; the bounds of intervals of 50, 80 and 95 % are bounds of bins."""
STRATA = ("below 0.1", "0.1 to 1", "1 and more")
"""Genes by their mean count in training cells, which no draw decides."""
_BOUNDS = (0.1, 1.0)
# Distance from the middle of the PIT within which a count is inside the central 95 %.
_INSIDE = 0.475
_SCALE = 1e4
# Bounds of the memory of a block of draws: 16 MB of counts, and as much for each intermediate result.
_ENTRIES_AT_ONCE = 4_000_000
_MOST_CELLS_AT_ONCE = 512
# Training cells that dispersions are fitted to, and whose states stand for the population.
_MOST_CELLS = 5000


@dataclass(frozen=True, eq=False)
class GeneReference:
    """What training cells say of the genes, fixed before anything is drawn.

    ``mean`` and ``log_mean`` are ``(n_genes,)``, the mean count and that of log(1 + count); ``strata`` positions in
    :data:`STRATA`; ``correlated`` positions of the genes whose correlations are compared; ``n_cells`` the number of
    training cells.
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
        strata=np.digitize(mean, _BOUNDS),
        correlated=_most_variable_genes(training, n_correlated),
        n_cells=training.shape[0],
    )


def _most_variable_genes(counts: sparse.csr_matrix, n_genes: int) -> np.ndarray:
    """Positions of the genes whose log-normalised counts vary most."""
    total = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), 1)
    logs = sparse.csr_matrix(sparse.diags(_SCALE / total) @ counts)
    logs.data = np.log1p(logs.data)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:n_genes])


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

    def __init__(self, center: np.ndarray, n_samples: int) -> None:
        self.center, self.n_samples, self.n_cells = center, n_samples, 0
        self.sums, self.squares, self.zeros = np.zeros((3, 1 + n_samples, len(center)))
        self.observed, self.mean, self.variance, self.third = np.zeros((4, len(MEASURES), len(center)))

    def add(self, counts: np.ndarray, logs: np.ndarray) -> None:
        """Add a block of ``(1 + n_samples, n_cells, n_genes)`` counts and log(1 + count), the observed ones first."""
        zero = counts == 0
        self.n_cells += counts.shape[1]
        self.sums += counts.sum(axis=1)
        self.squares += np.einsum("scg,scg->sg", counts, counts)
        self.zeros += zero.sum(axis=1)
        deviations = logs - self.center.astype(np.float32)
        np.square(deviations, out=deviations)
        for row, values in enumerate((counts, zero.astype(np.float32), deviations)):
            self.observed[row] += values[0].sum(axis=0)
            sums = (self.mean, self.variance, self.third)
            for added, cumulant in zip(sums, _cumulants(values[1:]), strict=True):
                added[row] += cumulant.sum(axis=0, dtype=np.float64)


def _cumulants(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unbiased first three cumulants over draws (k-statistics), each ``(n_cells, n_genes)``."""
    n = len(draws)
    mean = draws.mean(axis=0)
    deviations = draws - mean
    powers = deviations * deviations
    second = powers.mean(axis=0) * (n / (n - 1))
    powers *= deviations
    return mean, second, powers.mean(axis=0) * (n * n / ((n - 1) * (n - 2)))


class Ranks:
    """Randomised probability integral transforms (PIT) and continuous ranked probability scores, by cell and stratum.

    Where the observed count is one more draw of the predictive distribution, its rank among the draws, ties broken
    at random, is uniform: exactly, for discrete counts and any number of draws. So is the share of counts within
    a central interval of it, which for intervals of whole counts would be larger than nominal.

    Attributes
    ----------
    strata
        ``(n_genes,)`` positions in :data:`STRATA`.
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

    def __init__(self, strata: np.ndarray, rng: np.random.Generator) -> None:
        self.strata, self.rng = strata, rng
        self.histograms: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []
        self.expected_scores: list[np.ndarray] = []
        self.inside = np.zeros(len(strata))

    def add(self, counts: np.ndarray, logs: np.ndarray) -> None:
        """Add a block of ``(1 + n_samples, n_cells, n_genes)`` counts and log(1 + count), the observed ones first."""
        pit = randomised_pit(counts[0], counts[1:], self.rng)
        self.inside += (np.abs(pit - 0.5) <= _INSIDE).sum(axis=0)
        bins = np.minimum((pit * N_BINS).astype(np.int64), N_BINS - 1)
        shape = (len(pit), len(STRATA), N_BINS)
        flat = (np.arange(len(pit))[:, None] * len(STRATA) + self.strata) * N_BINS + bins
        self.histograms.append(np.bincount(flat.ravel(), minlength=np.prod(shape)).reshape(shape))
        score, spread = ranked_probability_score(logs[0], logs[1:])
        by_stratum = np.eye(len(STRATA))[self.strata]
        self.scores.append(score @ by_stratum)
        self.expected_scores.append(spread @ by_stratum)


def randomised_pit(observed: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of the observed among its draws, as a number in [0, 1), ties broken at random.

    ``observed`` is ``(n_cells, n_genes)``, ``draws`` ``(n_samples, n_cells, n_genes)``; ``rng`` breaks ties and
    chooses a place within a rank.
    """
    below = np.count_nonzero(draws < observed, axis=0)
    ties = np.count_nonzero(draws == observed, axis=0)
    return (below + rng.random(observed.shape) * (ties + 1)) / (len(draws) + 1)


def ranked_probability_score(observed: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuous ranked probability score from draws (lower is better), and what it would be were the draws right.

    ``E|X - x| - E|X - X'| / 2``; X' is the next draw, so that the estimate is unbiased without sorting.

    ``observed`` is ``(n_cells, n_genes)``, ``draws`` ``(n_samples, n_cells, n_genes)``.
    """
    distance = np.abs(draws - observed).mean(axis=0)
    spread = np.abs(draws - np.roll(draws, 1, axis=0)).mean(axis=0) / 2
    return distance - spread, spread


class Correlations:
    """Cross-products of log-normalised counts of some genes, added up block by block.

    ``products`` are ``(1 + n_samples, n_genes, n_genes)`` and ``sums`` ``(1 + n_samples, n_genes)`` over ``n_cells``
    added so far; the first is what was observed.
    """

    def __init__(self, genes: np.ndarray, n_samples: int) -> None:
        self.genes, self.n_cells = genes, 0
        self.products = np.zeros((1 + n_samples, len(genes), len(genes)))
        self.sums = np.zeros((1 + n_samples, len(genes)))

    def add(self, counts: np.ndarray, totals: np.ndarray) -> None:
        """Add a block of ``(1 + n_samples, n_cells, n_all_genes)`` counts, the observed first, and totals by cell."""
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


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one source generated for some cells, beside what was observed.

    ``source`` is ``model``, ``population``, ``nb`` or ``poisson``, ``cells`` ``held-out`` or ``training``. ``genes``,
    ``ranks`` and ``correlations`` are by gene, by cell and stratum, by pair of genes; ``totals`` and ``cell_zeros``
    ``(1 + n_samples, n_cells)`` counts and zeros of each cell, observed first.
    """

    source: str
    cells: str
    genes: GeneMoments
    ranks: Ranks
    correlations: Correlations
    totals: np.ndarray
    cell_zeros: np.ndarray

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

    ``counts`` are ``(n_cells, n_genes)`` observed counts of all cells, ``positions`` those of the cells to compare;
    ``source`` and ``cells`` name what generates, and which cells these are. ``seed`` breaks ties between draws and
    observed counts.
    """
    genes = GeneMoments(reference.log_mean, n_samples)
    ranks = Ranks(reference.strata, np.random.default_rng(seed))
    correlations = Correlations(reference.correlated, n_samples)
    at_once = int(np.clip(_ENTRIES_AT_ONCE // (n_samples * counts.shape[1]), 1, _MOST_CELLS_AT_ONCE))
    totals, zeros = [], []
    progress = Progress(f"generating counts of {cells} cells ({source})", len(positions))
    for start in range(0, len(positions), at_once):
        block = positions[start : start + at_once]
        observed = counts[block].toarray().astype(np.float32)
        both = np.concatenate([observed[None], draw(block)])
        logs = np.log1p(both)
        totals.append(both.sum(axis=2))
        zeros.append(np.count_nonzero(both == 0, axis=2))
        genes.add(both, logs)
        ranks.add(both, logs)
        correlations.add(both, totals[-1])
        progress.advance(len(block))
    of_cells = np.concatenate(totals, axis=1), np.concatenate(zeros, axis=1)
    return Evidence(source, cells, genes, ranks, correlations, *of_cells)


def gather_all(
    model: BaseModelClass,
    observed: sparse.csr_matrix,
    cells: CheckedCells,
    reference: GeneReference,
    n_samples: int,
    seed: int,
) -> list[Evidence]:
    """Counts of held-out cells by each source, and of training cells by the model.

    Parameters
    ----------
    model
        Fitted, with its cells.
    observed
        ``(n_cells, n_genes)`` counts of all cells.
    cells
        Which are compared, and which the baselines are fitted to.
    reference
        What training cells say of the genes.
    n_samples
        Draws of each cell.
    seed
        Seed of every draw.
    """
    batch = np.asarray(model.adata_manager.get_from_registry("batch")).ravel().astype(np.int64)
    rates = fit_rates(observed, batch, cells.fitted)
    some = sample_cells(cells.fitted, _MOST_CELLS, np.random.default_rng(seed))
    theta = fit_dispersions(observed, rates, some)
    seeds = [int(each) for each in np.random.SeedSequence(seed).generate_state(5)]
    with reproducible(seed):
        pool = pool_states(model, some)
        sources = (
            ("model", "held-out", own_draws(model, n_samples)),
            ("population", "held-out", population_draws(model, pool, n_samples, seeds[0])),
            ("nb", "held-out", negative_binomial_draws(rates, theta, n_samples, seeds[1])),
            ("poisson", "held-out", poisson_draws(rates, n_samples, seeds[2])),
            ("model", "training", own_draws(model, n_samples)),
        )
        drawn = {"n_samples": n_samples, "seed": seeds[3]}
        return [
            gather(draw, observed, cells.positions[share], reference, source=source, cells=share, **drawn)
            for source, share, draw in sources
        ]
