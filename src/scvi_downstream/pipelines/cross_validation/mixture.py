"""The likelihood of a cell whose batch the model does not know."""

from __future__ import annotations

import numpy as np


def log_mean(values: np.ndarray) -> np.ndarray:
    """Log of the mean of exponentials over the first axis."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(values, axis=0) - np.log(len(values)))


def batch_weights(bounds: np.ndarray) -> np.ndarray:
    """How well each batch that the model knows explains a cell: softmax of the bounds over batches.

    Parameters
    ----------
    bounds
        ``(n_batches, n_cells)`` lower bounds of log p(x | b).

    Returns
    -------
    ``(n_batches, n_cells)``; columns sum to one.
    """
    from scipy.special import softmax

    return np.asarray(softmax(bounds, axis=0))


def mixture_bound(bounds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lower bound of log p(x) for a cell of an unknown batch, all known ones being equally likely.

    With b one of B known batches, ``log p(x) = log 1/B Σ_b p(x | b) ≥ Σ_b w_b (bound_b - log w_b) - log B`` for any
    weights; with the weights of :func:`batch_weights` this is ``log 1/B Σ_b exp(bound_b)``. Bounds are estimated by
    draws. To exponentiate them would take lucky draws for likelihood, so weights must come from draws of their own:
    then the result errs to neither side of a true bound.

    Parameters
    ----------
    bounds
        ``(n_batches, n_cells)`` estimates of lower bounds of log p(x | b).
    weights
        ``(n_batches, n_cells)``, from other draws.

    Returns
    -------
    ``(n_cells,)`` nats.

    References
    ----------
    Jordan, Ghahramani, Jaakkola & Saul (1999), doi:10.1023/A:1007665907178.
    """
    from scipy.special import entr

    return np.asarray((weights * bounds + entr(weights)).sum(axis=0) - np.log(len(bounds)))
