"""kBET when cells are drawn anew."""

from __future__ import annotations

import numpy as np

from scvi_downstream.metrics.kbet import SIGNIFICANCE, Neighborhoods
from scvi_downstream.metrics.weighted import ratio


def acceptance_in_resamples(groups: list[Neighborhoods], weights: np.ndarray) -> np.ndarray:
    """Mean over labels of the share of neighbourhoods that pass, each neighbourhood drawn anew.

    A neighbourhood is the nearest cells that count, until there are as many as in the sample; the diffusion map
    stays. A batch's count in it is its true share, the noise of the sample and that of the resample: tested as it is,
    it would be rejected in perfectly mixed cells as well. The deviations of the sample are therefore shrunk by what
    noise adds to them in the label, as James & Stein do, before the resample's noise is added.

    Parameters
    ----------
    groups
        Of :func:`scvi_downstream.metrics.kbet.neighborhoods_by_label`.
    weights
        ``(n_draws, n_cells)`` of resamples. (Weights of one have no noise and give less rejection than the sample.)

    Returns
    -------
    ``(n_draws,)``; NaN without groups.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Efron & Morris (1973), doi:10.1080/01621459.1973.10481350.
    """
    if not groups:
        return np.full(len(weights), np.nan)
    return np.mean([_acceptance(group, weights[:, group.cells]) for group in groups], axis=0)


def _acceptance(group: Neighborhoods, weights: np.ndarray) -> np.ndarray:
    from scipy.stats import chi2

    if group.nearest is None:
        return np.zeros(len(weights))
    batch_of_nearest = group.batches[group.nearest]
    members = [
        (group.batches == batch, batch_of_nearest == batch) for batch in range(group.batches.max() + 1)
    ]
    freedom = len(members) - 1
    everyone = np.ones(len(group.cells))
    deviations, expected = _deviations(group, members, everyone)
    excess = 1 - freedom / max(_statistic(deviations, expected).mean(), freedom)
    noise_of_sample = (1 - np.sqrt(excess)) * deviations
    limit = chi2.isf(SIGNIFICANCE, freedom)
    shares = []
    for counts in weights:
        drawn, expected = _deviations(group, members, counts)
        passed = _statistic(drawn - noise_of_sample, expected) <= limit
        shares.append(ratio(counts @ passed, counts.sum()))
    return np.array(shares)


def _deviations(
    group: Neighborhoods, members: list[tuple[np.ndarray, np.ndarray]], counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Observed less expected counts, ``(n_batches, n_tested)``, and expected counts, ``(n_batches,)``."""
    there = counts[group.nearest]
    nearer = np.cumsum(there, axis=1) - there
    taken = np.clip(group.size - nearer, 0, there)
    reached = taken.sum(axis=1)
    shares = np.array([counts[own].sum() for own, _ in members]) / max(counts.sum(), 1)
    observed = np.array([np.einsum("ij,ij->i", taken, among) for _, among in members])
    # where fewer are near, their noise is made as large as that of a whole neighbourhood
    scale = np.sqrt(group.size / np.maximum(reached, 1))
    return (observed - shares[:, None] * reached) * scale, shares * group.size


def _statistic(deviations: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """χ² of each neighbourhood: ``(n_tested,)``."""
    parts = ratio(np.square(deviations), np.broadcast_to(expected[:, None], deviations.shape))
    return np.nansum(parts, axis=0)
