"""Effects drawn towards zero by what all of them say: empirical Bayes with a mixture of normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WIDTHS = 2.0 ** np.arange(-4, 2.6, 0.5)
"""Standard deviations of the components around zero, log2: from hardly a change to a hundredfold one."""
_CENTRES = 2.0 ** np.arange(-1, 3)
"""Centres of the components on both sides of zero, as wide as ``_OF_CENTRE`` of it: effects that all are sizeable."""
_OF_CENTRE = 0.3
_NULL_WEIGHT = 10.0
"""Effects near zero that are added, as in ashr, so that the share of sizeable ones is not overstated."""
_MAX_ROUNDS, _CHANGE, _LEAST = 60, 1e-5, 1e-9  # of the weights
_HALVINGS = 12  # of the range of a quantile, by which it is known to some 1e-3
_MORE_LIKELY = 0.5
_LEAST_WEIGHT = 1e-4  # of a component: with less it moves no probability that matters


@dataclass(frozen=True, eq=False)
class Shrunken:
    """Posterior of effects, each ``(n_effects,)``.

    ``mean``, ``lower`` and ``upper`` end the equal-tailed interval; ``probability`` that the effect is larger than the
    least one that counts, in the likelier direction. All are NaN where the effect or its error is.
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    probability: np.ndarray

    def called(self, expected: np.ndarray, fdr: float) -> np.ndarray:
        """Effects that are more likely than not beyond the least one, at an ``expected`` FDR of at most ``fdr``."""
        return (expected <= fdr) & (self.probability > _MORE_LIKELY)


def shrink(effects: np.ndarray, errors: np.ndarray, least: float, mass: float) -> Shrunken:
    """Posterior of each effect under the prior that all of them together suggest.

    The prior is a mixture of normals around zero and, in pairs of equal weight, at both sides of it; its weights are
    those of the highest likelihood, with a penalty that favours no effect.

    Parameters
    ----------
    effects, errors
        ``(n_effects,)`` estimates in log2 and their normal standard errors.
    least
        Absolute effect that counts.
    mass
        Of the intervals.

    References
    ----------
    Stephens (2017), doi:10.1093/biostatistics/kxw041.
    """
    from scipy.special import ndtr

    known = np.isfinite(effects) & np.isfinite(errors) & (errors > 0)
    result = np.full((4, len(effects)), np.nan)
    if known.any():
        share, centre, spread = _posterior(effects[known], errors[known])
        up = (share * ndtr((centre - least) / spread)).sum(axis=1)
        down = (share * ndtr((-least - centre) / spread)).sum(axis=1)
        tails = (1 - mass) / 2, (1 + mass) / 2
        quantiles = [_quantile(share, centre, spread, tail) for tail in tails]
        result[:, known] = (share * centre).sum(axis=1), *quantiles, np.minimum(np.maximum(up, down), 1)
    return Shrunken(*result)


def _posterior(effects: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, means and standard deviations of the components of each effect's posterior."""
    x, e = effects[:, None], errors[:, None]
    # one normal around each centre; those on both sides of zero share a weight
    n_zero, n_sides = len(_WIDTHS), len(_CENTRES)
    centres = np.concatenate([np.zeros(n_zero), _CENTRES, -_CENTRES])
    widths = np.concatenate([_WIDTHS, _OF_CENTRE * _CENTRES, _OF_CENTRE * _CENTRES])
    total = np.hypot(e, widths)
    logs = -0.5 * ((x - centres) / total) ** 2 - np.log(total)
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    sides = likelihood[:, n_zero:].reshape(-1, 2, n_sides)
    shared = _weights(np.hstack([likelihood[:, :n_zero], sides.mean(axis=1)]))
    weights = np.concatenate([shared, shared[n_zero:]])
    weights[n_zero:] /= 2
    kept = weights > _LEAST_WEIGHT
    share = likelihood[:, kept] * weights[kept]
    precision = 1 / e**2 + 1 / widths[kept] ** 2
    centre = (x / e**2 + centres[kept] / widths[kept] ** 2) / precision
    return share / share.sum(axis=1, keepdims=True), centre, precision**-0.5


def _weights(likelihood: np.ndarray) -> np.ndarray:
    """Weights of the components, ``(n_effects, n_components)``, by expectation maximisation.

    Every third step leaps along the path of the two before it, squared extrapolation: a tenth of the steps.

    References
    ----------
    Varadhan & Roland (2008), doi:10.1111/j.1467-9469.2007.00585.x.
    """
    prior = np.zeros(likelihood.shape[1])
    prior[0] = _NULL_WEIGHT - 1

    def step(weights: np.ndarray) -> np.ndarray:
        new = weights * ((1 / (likelihood @ weights)) @ likelihood) + prior
        return new / new.sum()

    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(_MAX_ROUNDS):
        once = step(weights)
        twice = step(once)
        first, second = once - weights, twice - 2 * once + weights
        if np.abs(twice - once).max() < _CHANGE:
            return twice
        leap = np.sqrt((first**2).sum() / (second**2).sum())
        ahead = np.maximum(weights + 2 * leap * first + leap**2 * second, _LEAST)
        weights = step(ahead / ahead.sum())
    return weights


def _quantile(share: np.ndarray, centre: np.ndarray, spread: np.ndarray, level: float) -> np.ndarray:
    """The quantile of each row's mixture, by halving the range that holds it."""
    from scipy.special import ndtr

    low, high = (centre - 4 * spread).min(axis=1), (centre + 4 * spread).max(axis=1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = (share * ndtr((middle[:, None] - centre) / spread)).sum(axis=1) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
