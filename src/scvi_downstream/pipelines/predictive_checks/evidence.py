"""One pass over cells: everything that the checks need to know of what was observed and generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.pipelines.predictive_checks.counting import OverDraws, over_draws
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

    def add(self, observed: np.ndarray, block: OverDraws) -> None:
        """Add a block of ``(n_cells, n_genes)`` observed counts, and what their draws add up to."""
        n_cells = len(observed)
        self.n_cells += n_cells
        sums, squares, positive = block.of_genes
        self.sums += sums
        self.squares += squares
        self.zeros += n_cells - positive
        deviations = np.square(np.log1p(observed, dtype=np.float64) - self.center)
        for row, values in enumerate((observed, observed == 0, deviations)):
            self.observed[row] += values.sum(axis=0, dtype=np.float64)
        cumulants = (self.mean, self.variance, self.third)
        for row, powers in enumerate((block.counts, np.stack([block.zeros] * 3), block.spread)):
            for added, cumulant in zip(cumulants, _cumulants(powers, self.n_samples), strict=True):
                added[row] += cumulant.sum(axis=0)
        self.mean[MEASURES.index("spread")] += n_cells * np.square(self.center)


def _cumulants(powers: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unbiased first three cumulants (k-statistics) of n draws, from sums of their powers ``(3, …)``."""
    first, second, third = powers
    square = n * second - first**2
    cube = 2 * first**3 - 3 * n * first * second + n * n * third
    return first / n, square / (n * (n - 1)), cube / (n * (n - 1) * (n - 2))


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

    def add(self, block: OverDraws, n_samples: int) -> None:
        """Add what the draws of a block of cells add up to."""
        pit = randomised_pit(block, n_samples, self.rng)
        self.inside += (np.abs(pit - 0.5) <= _INSIDE).sum(axis=0)
        bins = np.minimum((pit * N_BINS).astype(np.int64), N_BINS - 1)
        shape = (len(pit), len(STRATA), N_BINS)
        flat = (np.arange(len(pit))[:, None] * len(STRATA) + self.strata) * N_BINS + bins
        self.histograms.append(np.bincount(flat.ravel(), minlength=np.prod(shape)).reshape(shape))
        score, spread = ranked_probability_score(block, n_samples)
        by_stratum = np.eye(len(STRATA))[self.strata]
        self.scores.append(score @ by_stratum)
        self.expected_scores.append(spread @ by_stratum)


def randomised_pit(block: OverDraws, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Rank of the observed among its draws, as a number in [0, 1), ties broken at random: ``(n_cells, n_genes)``.

    ``rng`` breaks ties and chooses a place within a rank.
    """
    return (block.below + rng.random(block.below.shape) * (block.ties + 1)) / (n_samples + 1)


def ranked_probability_score(block: OverDraws, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Continuous ranked probability score from draws (lower is better), and what it would be were the draws right.

    ``E|X - x| - E|X - X'| / 2`` of log(1 + count), ``(n_cells, n_genes)``; X' is the draw before, so that the estimate
    is unbiased without sorting.
    """
    spread = block.between / (2 * n_samples)
    return block.distance / n_samples - spread, spread


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

    ``source`` is ``model``, ``population``, ``nb`` or ``poisson``, ``cells`` ``held-out`` or ``training``. ``genes``
    and ``ranks`` are by gene, and by cell and stratum. Of what was observed first, and of each set of draws: ``pairs``
    are ``(1 + n_samples, n_pairs)`` correlations of genes, ``totals`` and ``cell_zeros`` ``(1 + n_samples, n_cells)``
    counts and zeros of each cell.
    """

    source: str
    cells: str
    genes: GeneMoments
    ranks: Ranks
    pairs: np.ndarray
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
        added = over_draws(both, reference.log_mean)
        total, positive = added.of_cells
        totals.append(total)
        zeros.append(counts.shape[1] - positive)
        genes.add(observed, added)
        ranks.add(added, n_samples)
        correlations.add(both, total)
        progress.advance(len(block))
    of_cells = np.concatenate(totals, axis=1), np.concatenate(zeros, axis=1)
    return Evidence(source, cells, genes, ranks, correlations.pairs(), *of_cells)


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
    seeds = [int(each) for each in np.random.SeedSequence(seed).generate_state(6)]
    with reproducible(seed):
        pool = pool_states(model, some)
        sources = (
            ("model", "held-out", own_draws(model, n_samples, seeds[4])),
            ("population", "held-out", population_draws(model, pool, n_samples, seeds[0])),
            ("nb", "held-out", negative_binomial_draws(rates, theta, n_samples, seeds[1])),
            ("poisson", "held-out", poisson_draws(rates, n_samples, seeds[2])),
            ("model", "training", own_draws(model, n_samples, seeds[5])),
        )
        drawn = {"n_samples": n_samples, "seed": seeds[3]}
        return [
            gather(draw, observed, cells.positions[share], reference, source=source, cells=share, **drawn)
            for source, share, draw in sources
        ]
