"""False discovery rate of calls by posterior probability."""

from __future__ import annotations

import numpy as np


def expected_fdr(probability: np.ndarray) -> np.ndarray:
    """Posterior expected false discovery rate of calling each feature and all at least as probable.

    Parameters
    ----------
    probability
        ``(n_features,)`` posterior probabilities of a difference.

    References
    ----------
    Newton et al. (2004), doi:10.1093/biostatistics/5.2.155.
    """
    order = np.argsort(-probability, kind="stable")
    running = np.cumsum(1 - probability[order]) / np.arange(1, len(order) + 1)
    last_of_tie = np.searchsorted(-probability[order], -probability, side="right") - 1
    return running[last_of_tie]
