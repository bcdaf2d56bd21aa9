"""Batch silhouettes inside each label in matrix products; compiling for the size of each label took 10 s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scvi_downstream.metrics.silhouette import against_others, cosine
from scvi_downstream.metrics.weighted import mean_over_groups


@dataclass(frozen=True)
class BatchMixing:
    """1 − the absolute silhouette of each cell's batch among the cells of its label.

    Attributes
    ----------
    by_label
        Positions of a label's cells and their values, for each label that can be scored.
    influence
        ``(n_cells,)`` derivative of BRAS by each cell's weight in the distances of the others; adds to 0.
    """

    by_label: list[tuple[np.ndarray, np.ndarray]]
    influence: np.ndarray

    def bras(self, weights: np.ndarray) -> np.ndarray:
        """BRAS under each row of ``(n_draws, n_cells)`` weights: ``(n_draws,)``, to first order."""
        return np.clip(mean_over_groups(self.by_label, weights) + weights @ self.influence, 0, 1)


def batch_mixing(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> BatchMixing:
    """Silhouettes of batches within labels; the parameters are those of :func:`bras`."""
    scored = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if 1 < len(np.unique(batches[own])) < len(own):
            scored.append(own)
    by_label, influence = [], np.zeros(len(latent))
    for own in scored:
        silhouettes = against_others(cosine(latent[own]), np.unique(batches[own], return_inverse=True)[1])
        by_label.append((own, 1 - np.abs(silhouettes.widths)))
        shares = -np.sign(silhouettes.widths) / (len(own) * len(scored))
        influence[own] = silhouettes.influence(shares[:, None])[:, 0]
    return BatchMixing(by_label, influence)


def bras(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Batch removal adapted silhouette, as :func:`scib_metrics.bras` with its defaults.

    Labels of one batch, or with as many batches as cells, are left out.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    labels, batches
        ``(n_cells,)``.

    Returns
    -------
    In [0, 1], higher is better mixed; NaN when no label can be scored.

    References
    ----------
    Rautenstrauch & Ohler (2025), doi:10.1038/s41587-025-02743-4.
    """
    return float(batch_mixing(latent, labels, batches).bras(np.ones((1, len(latent))))[0])
