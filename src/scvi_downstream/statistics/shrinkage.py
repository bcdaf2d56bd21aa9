"""Effects drawn towards zero by what all of them say: empirical Bayes with a mixture of normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WIDTHS = 2.0 ** np.arange(-4, 2.6, 0.5)
"""Standard deviations of the components around zero, log2: from hardly a change to a hundredfold one."""
_CENTRES = 2.0 ** np.arange(-1, 3)
"""Centres of the components on both sides of zero, as wide as ``_OF_CENTRE`` of it: effects that all are sizeable."""
_OF_CENTRE = 0.3
_NULL_WEIGHT = (
    10.0  # effects near zero that are added, as in ashr, so that the share of effects is not overstated
)
_MAX_ROUNDS, _CHANGE = 200, 1e-4
_HALVINGS = 16  # of the range of a quantile, by which it is known to some 1e-3
_LEAST_WEIGHT = (
    1e-4  # of a component: with less it moves no probability by more than the errors of the errors do
)


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
    from scipy.stats import norm

    known = np.isfinite(effects) & np.isfinite(errors) & (errors > 0)
    result = np.full((4, len(effects)), np.nan)
    if known.any():
        share, centre, spread = _posterior(effects[known], errors[known])
        up = (share * norm.sf((least - centre) / spread)).sum(axis=1)
        down = (share * norm.cdf((-least - centre) / spread)).sum(axis=1)
        tails = (1 - mass) / 2, (1 + mass) / 2
        quantiles = [_quantile(share, centre, spread, tail) for tail in tails]
        result[:, known] = (share * centre).sum(axis=1), *quantiles, np.minimum(np.maximum(up, down), 1)
    return Shrunken(*result)


def _posterior(effects: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, means and standard deviations of the components of each effect's posterior."""
    x, e = effects[:, None], errors[:, None]
    centres = np.concatenate([np.zeros(len(_WIDTHS)), _CENTRES])
    widths = np.concatenate([_WIDTHS, _OF_CENTRE * _CENTRES])
    total = np.hypot(e, widths)
    right, left = (-0.5 * ((x - side * centres) / total) ** 2 - np.log(total) for side in (1, -1))
    either = np.logaddexp(right, left)
    likelihood = np.exp(either - either.max(axis=1, keepdims=True))
    weights = _weights(likelihood)
    share = likelihood * weights
    share /= share.sum(axis=1, keepdims=True)
    to_right = share * np.exp(right - either)
    kept = weights > _LEAST_WEIGHT
    precision = 1 / e**2 + 1 / widths**2
    pulled = centres / widths**2
    middles = [(x / e**2 + side * pulled) / precision for side in (1, -1)]
    parts = (
        (to_right, middles[0], precision**-0.5),
        (share - to_right, middles[1], precision**-0.5),
    )
    shares, means, spreads = (np.hstack([part[i][:, kept] for part in parts]) for i in range(3))
    return shares / shares.sum(axis=1, keepdims=True), means, spreads


def _weights(likelihood: np.ndarray) -> np.ndarray:
    """Weights of the components, ``(n_effects, n_components)``, by expectation maximisation."""
    prior = np.zeros(likelihood.shape[1])
    prior[0] = _NULL_WEIGHT - 1
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(_MAX_ROUNDS):
        new = weights * (likelihood / (likelihood @ weights)[:, None]).sum(axis=0) + prior
        new /= new.sum()
        if np.abs(new - weights).max() < _CHANGE:
            return new
        weights = new
    return weights


def _quantile(share: np.ndarray, centre: np.ndarray, spread: np.ndarray, level: float) -> np.ndarray:
    """The quantile of each row's mixture, by halving the range that holds it."""
    from scipy.special import ndtr

    low, high = (centre - 8 * spread).min(axis=1), (centre + 8 * spread).max(axis=1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = (share * ndtr((middle[:, None] - centre) / spread)).sum(axis=1) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
