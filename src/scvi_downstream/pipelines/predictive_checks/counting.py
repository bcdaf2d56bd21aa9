"""Counts drawn of known means and dispersions, and what is added up over draws, each in one pass over memory.

Most counts are zero: whether one is takes one uniform number, and zeros are then added up by how many they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scvi_downstream.models.count_kernels import exp32, log1p32
from scvi_downstream.runtime.compiled import compiled

AS_GOOD_AS_POISSON = np.float32(1e10)
"""Inverse dispersion at which a negative binomial is a Poisson to seven digits."""
# Means up to which counts are found by going through the probabilities of 1, 2, …, which takes as many steps.
_MOST_BY_STEPS = np.float32(30)
_ONE, _HALF, _SMALL = np.float32(1), np.float32(0.5), np.float32(0.01)
_IMPOSSIBLE = 1e-18


def draw_counts(
    mean: np.ndarray,
    theta: np.ndarray,
    dropout: np.ndarray | None,
    n_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Counts of a negative binomial, zero-inflated where ``dropout`` is given.

    Parameters
    ----------
    mean
        float32 ``(n_rows, n_genes)``, not negative.
    theta
        Inverse dispersions, ``(n_rows, n_genes)``, or ``(1, n_genes)`` for all rows; the variance is µ + µ² / θ.
    dropout
        Logits of a count being zero whatever its mean, ``(n_rows, n_genes)``.
    n_samples
        Draws of each row.
    rng
        Gives one uniform number a count.

    Returns
    -------
    float32 ``(n_samples, n_rows, n_genes)``.
    """
    counts = np.empty((n_samples, *mean.shape), np.float32)
    _draw(mean, theta, mean[:0] if dropout is None else dropout, rng.random(counts.shape), counts)
    for gene in np.flatnonzero(mean.max(axis=0, initial=0) > _MOST_BY_STEPS):
        many = counts[:, :, gene] < 0
        expected, shape = np.broadcast_arrays(mean[:, gene].astype(np.float64), theta[:, gene])
        expected, shape = (np.broadcast_to(each, many.shape)[many] for each in (expected, shape))
        counts[:, :, gene][many] = rng.poisson(rng.standard_gamma(shape) / shape * expected)
    return counts


@compiled
def _draw(
    mean: np.ndarray, theta: np.ndarray, dropout: np.ndarray, uniform: np.ndarray, counts: np.ndarray
) -> None:
    """By inversion from the right, where small probabilities are exact; -1 where the mean is too large for that."""
    n_samples, n_rows, n_genes = counts.shape
    kept, zero, positive = np.ones((3, n_genes), np.float32)
    for i in range(n_rows):
        m, t = mean[i], theta[i % len(theta)]
        for j in range(n_genes):
            x = t[j] * log1p32(m[j] / t[j])
            zero[j] = exp32(-x)
            positive[j] = x * (_ONE - _HALF * x) if x < _SMALL else _ONE - zero[j]
        if len(dropout):
            logits = dropout[i]
            for j in range(n_genes):
                kept[j] = _ONE / (_ONE + exp32(logits[j]))
        for s in range(n_samples):
            u, row = uniform[s, i], counts[s, i]
            for j in range(n_genes):
                many = m[j] > _MOST_BY_STEPS
                if u[j] >= kept[j] * (_ONE if many else positive[j]):
                    row[j] = 0
                elif many:
                    row[j] = -1
                else:
                    k, left, shape = 1, u[j] / kept[j], np.float64(t[j])
                    odds = m[j] / (m[j] + shape)
                    p = zero[j] * shape * odds
                    while left > p > _IMPOSSIBLE:
                        left -= p
                        k += 1
                        p *= (k - 1 + shape) / k * odds
                    row[j] = k


@dataclass(frozen=True, eq=False)
class OverDraws:
    """What the draws of a block of cells add up to.

    ``counts`` and ``spread`` are ``(3, n_cells, n_genes)`` sums over draws of the first three powers of the count, and
    of what the squared deviation of log(1 + count) from a centre has more than that of a zero. ``zeros``, ``below`` and
    ``ties`` are ``(n_cells, n_genes)`` draws that are zero, below and equal to what was observed; ``distance`` and
    ``between`` sums of the distances of log(1 + count) from what was observed and from the draw before. ``of_genes``
    are ``(3, 1 + n_samples, n_genes)`` sums over cells of counts, their squares and their being above zero,
    ``of_cells`` ``(2, 1 + n_samples, n_cells)`` sums over genes of counts and of their being above zero, both of what
    was observed first.
    """

    counts: np.ndarray
    spread: np.ndarray
    zeros: np.ndarray
    below: np.ndarray
    ties: np.ndarray
    distance: np.ndarray
    between: np.ndarray
    of_genes: np.ndarray
    of_cells: np.ndarray


def over_draws(counts: np.ndarray, center: np.ndarray) -> OverDraws:
    """Add up a block of ``(1 + n_samples, n_cells, n_genes)`` counts, the observed ones first.

    ``center`` is ``(n_genes,)``, from which log(1 + count) deviates.
    """
    n_draws, n_cells, n_genes = counts.shape
    logs = np.log1p(np.arange(counts.max(initial=0) + 1, dtype=np.float64))
    powers, others = np.zeros((2, 3, n_cells, n_genes)), np.zeros((5, n_cells, n_genes))
    of_genes, of_cells = np.zeros((3, n_draws, n_genes)), np.zeros((2, n_draws, n_cells))
    _add_up(counts, logs, center, powers, others, of_genes, of_cells)
    return OverDraws(*[*powers, *others, of_genes, of_cells])


@compiled
def _add_up(
    counts: np.ndarray, logs: np.ndarray, center: np.ndarray, powers: np.ndarray, others: np.ndarray,
    of_genes: np.ndarray, of_cells: np.ndarray,
) -> None:  # fmt: skip
    n_draws, n_cells, n_genes = counts.shape
    n_samples = n_draws - 1
    before, own = np.empty(n_genes), np.empty(n_genes)
    for i in range(n_cells):
        of_count, of_spread = powers[0, :, i], powers[1, :, i]
        zeros, below, ties, distance, between = others[:, i]
        observed, last = counts[0, i], counts[n_samples, i]
        for j in range(n_genes):
            own[j], before[j] = logs[int(observed[j])], logs[int(last[j])]
        for s in range(n_draws):
            row = counts[s, i]
            total, positive = 0.0, 0
            for j in range(n_genes):
                x = np.float64(row[j])
                if x > 0:
                    total += x
                    positive += 1
                    of_genes[0, s, j] += x
                    of_genes[1, s, j] += x * x
                    of_genes[2, s, j] += 1
                    if s > 0:
                        log = logs[int(x)]
                        away = log * (log - 2 * center[j])
                        of_count[0, j] += x
                        of_count[1, j] += x * x
                        of_count[2, j] += x * x * x
                        of_spread[0, j] += away
                        of_spread[1, j] += away * away
                        of_spread[2, j] += away * away * away
                        zeros[j] -= 1
                        below[j] += x < observed[j]
                        ties[j] += x == observed[j]
                        distance[j] += abs(log - own[j]) - own[j]
                        between[j] += abs(log - before[j])
                        before[j] = log
                elif s > 0 and before[j] > 0:
                    between[j] += before[j]
                    before[j] = 0
            of_cells[0, s, i] = total
            of_cells[1, s, i] = positive
        for j in range(n_genes):
            zeros[j] += n_samples
            distance[j] += n_samples * own[j]
            below[j] += zeros[j] * (observed[j] > 0)
            ties[j] += zeros[j] * (observed[j] == 0)
