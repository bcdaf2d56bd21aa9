"""Where observed counts lie among the draws: calibration of predictive distributions, and their score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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
