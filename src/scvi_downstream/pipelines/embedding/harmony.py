"""Harmony on the PCA, the baseline that corrects batches without a model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def correct_batches(scores: np.ndarray, batches: pd.DataFrame, seed: int) -> np.ndarray:
    """Batch-corrected principal components.

    Parameters
    ----------
    scores
        ``(n_cells, n_components)`` principal component scores.
    batches
        `n_cells` rows, one column per batch variable, no missing values.
    seed
        Of the initial clusters and the order of updates.

    Returns
    -------
    ``(n_cells, n_components)`` float32.

    References
    ----------
    Korsunsky et al. (2019), doi:10.1038/s41592-019-0619-0.
    """
    import harmonypy

    # harmonypy sets its own handler and level at import, so it would print on every run
    harmony_logger = logging.getLogger("harmonypy")
    harmony_logger.handlers.clear()
    harmony_logger.setLevel(logging.WARNING)
    corrected = harmonypy.run_harmony(
        scores.astype(np.float64), batches, list(batches.columns), random_state=seed, verbose=False
    )
    return np.ascontiguousarray(corrected.Z_corr, dtype=np.float32)
