"""Where cells of one condition are denser than those of another, apart from what samples change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.mrvi import local_states
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.samples.design import (
    Contrast,
    SampleDesign,
    adjusted_over_groups,
    permutation_p,
    sample_design,
)
from scvi_downstream.pipelines.samples.distances import LARGEST_BATCH, attach_mrvi
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import MRVI, AnnData
from scvi_downstream.scoring.resampling import sample_cells

SMALLEST_DENSITY = 1e-300
"""Densities that are zero in double precision count as this, so that their logarithm is finite."""
DENSITY = "density_"
"""Prefix of the columns of log-ratios of densities, by condition."""
GROUPS = (
    "group", "condition", "reference", "n_cells", "n_samples", "log_ratio", "probability", "p", "p_adjusted",
    "own_condition", "own_condition_p", "own_condition_p_adjusted", "n_permutations", "smallest_p", "reason",
)  # fmt: skip


def compare_sample_abundance(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where cells of a condition are denser: by cell and by group.

    Parameters
    ----------
    fitted, counts, clusters, keys, options, seed, accelerator
        As of :func:`.comparison.compare_samples`.

    Returns
    -------
    `n_cells` × ``density_<condition>`` for each but the reference, natural log-ratios of densities; and one row a
    group and condition, as of :func:`compare_abundance`.
    """
    design = sample_design(counts, clusters, keys, options)
    cells = counts.obs_names.rename("cell")
    if not design.compared:
        return pd.DataFrame(index=cells), pd.DataFrame(columns=list(GROUPS))
    densities = sample_densities(attach_mrvi(fitted, counts, accelerator), design, options, seed)
    ratios, groups = compare_abundance(densities, design, options, seed)
    return pd.DataFrame(ratios, index=cells, columns=[DENSITY + name for name in design.compared]), groups


@dataclass(frozen=True, eq=False)
class SampleDensities:
    """The mixture of the posteriors of u of the cells of each sample.

    ``means`` and ``scales`` of the components are one array ``(n_components, n_latent_u)`` a sample, ``u`` the
    posterior means of all cells, ``(n_cells, n_latent_u)``.
    """

    means: tuple[np.ndarray, ...]
    scales: tuple[np.ndarray, ...]
    u: np.ndarray

    def log_densities(self, cells: np.ndarray) -> np.ndarray:
        """Log-density of cells in each sample: ``(n_cells, n_samples)`` float64."""
        from scipy.special import logsumexp

        u = self.u[cells].astype(np.float64)
        columns = []
        for mean, scale in zip(self.means, self.scales, strict=True):
            precision = scale**-2
            squared = u**2 @ precision.T - 2 * u @ (mean * precision).T + (mean**2 * precision).sum(axis=1)
            constant = np.log(scale).sum(axis=1) + 0.5 * u.shape[1] * np.log(2 * np.pi)
            columns.append(logsumexp(-0.5 * squared - constant, axis=1) - np.log(len(mean)))
        return np.column_stack(columns)


def sample_densities(
    model: MRVI, design: SampleDesign, options: SamplesOptions, seed: int
) -> SampleDensities:
    """Encode all cells of a fitted ``MRVI``; a sample's density is made of at most ``max_cells_per_sample`` of them."""
    cells, any_sample = np.arange(len(design.of_cell)), np.array([0])
    u, scale = [], []
    label = "densities of samples"
    for states in local_states(model, cells, samples=any_sample, batch_size=LARGEST_BATCH, label=label):
        u.append(states.u.cpu().numpy())
        scale.append(states.scale.cpu().numpy())
    means, scales = np.concatenate(u), np.concatenate(scale).astype(np.float64)
    chosen = []
    for s in range(len(design.samples)):
        own = np.flatnonzero(design.of_cell == s)
        chosen.append(sample_cells(own, options.max_cells_per_sample, np.random.default_rng([seed, s])))
    of_samples = tuple(means[own].astype(np.float64) for own in chosen)
    return SampleDensities(of_samples, tuple(scales[own] for own in chosen), means)


def compare_abundance(
    densities: SampleDensities, design: SampleDesign, options: SamplesOptions, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Log-ratio of the densities of u of each condition and the reference, cell by cell and by group.

    A cell's own sample is left out of both, as in ``MRVI.differential_abundance``. A group's test permutes
    conditions over samples, within pairs where samples pair up.

    Parameters
    ----------
    densities, design, options
        Of :func:`sample_densities`; samples, conditions, groups; least cells, permutations.
    seed
        Of permutations.

    Returns
    -------
    ``(n_cells, n_conditions - 1)`` natural logarithms, NaN where a condition has fewer than 2 samples; and one row
    a group and condition, :data:`GROUPS`: ``log_ratio``, the median of its cells; ``probability``, the mean over
    cells of the probability that a cell of this u is of the condition if both are as frequent (0.5: no difference
    in abundance); ``own_condition``, the mean of the probability of the condition that the cell is of (0.5: u does
    not tell it; 1: u holds all of what the condition changes, and the rest of the model sees nothing of it), each
    with the share of permutations that lie as far from 0.5, or as high. Log-ratios have heavy tails, which rule
    their mean but not that of a probability.

    References
    ----------
    Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    ratios = np.full((len(design.of_cell), len(design.compared)), np.nan)
    tables = []
    sizes = design.members.sum(axis=1)
    for column, condition in enumerate(design.compared):
        contrast = design.contrast(condition, np.arange(len(design.samples)), options, seed)
        table = pd.DataFrame({"group": design.groups, "condition": condition})
        table = table.assign(reference=design.reference, n_cells=sizes)
        if isinstance(contrast, str):
            tables.append(table.assign(reason=contrast))
            continue
        ratios[:, column], means, own = _compare_densities(densities, design, contrast)
        tables.append(
            table.assign(
                n_samples=len(contrast.samples),
                log_ratio=[np.median(ratios[inside, column]) for inside in design.members],
                probability=means[:, 0],
                p=permutation_p(np.abs(means - 0.5)),
                own_condition=own[:, 0],
                own_condition_p=permutation_p(own),
                n_permutations=len(contrast.treated),
                smallest_p=contrast.smallest_p,
                reason=None,
            )
        )
    table = pd.concat(tables, ignore_index=True).reindex(columns=list(GROUPS))
    for name in ("p", "own_condition_p"):
        table[f"{name}_adjusted"] = adjusted_over_groups(table, name, options.fdr)
    return ratios.astype(np.float32), table


def _compare_densities(
    densities: SampleDensities, design: SampleDesign, contrast: Contrast
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-ratio of each cell; mean probability of the condition, and of the cell's own, by group and permutation."""
    from scipy.special import expit

    n_cells = len(design.of_cell)
    observed = np.empty(n_cells)
    treated = contrast.treated.T.astype(np.float64)
    sums = np.zeros((2, len(design.groups), treated.shape[1]))
    used = np.isin(design.of_cell, contrast.samples)
    progress = Progress("differential abundance", n_cells)
    for start in range(0, n_cells, LARGEST_BATCH):
        cells = np.arange(start, min(start + LARGEST_BATCH, n_cells))
        logs = densities.log_densities(cells)[:, contrast.samples]
        own = design.of_cell[cells][:, None] == contrast.samples[None]
        ratio = log_ratios(logs, own, treated)
        observed[cells] = ratio[:, 0]
        inside = design.members[:, cells].astype(np.float64)
        probability = expit(ratio)
        of_own = np.where(own.astype(np.float64) @ treated > 0, probability, 1 - probability)
        sums[0] += inside @ probability
        sums[1] += (inside * used[cells]) @ of_own
        progress.advance(len(cells))
    sizes = design.members.sum(axis=1)[:, None]
    own_sizes = np.maximum((design.members & used).sum(axis=1), 1)[:, None]
    return observed, sums[0] / sizes, sums[1] / own_sizes


def log_ratios(logs: np.ndarray, own: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Log of the mean density of the treated samples less that of the others, own sample left out.

    Of ``(n_cells, n_samples)`` log-densities; ``own`` says whether the cell is of the sample, ``treated`` is
    ``(n_samples, n_permutations)``, 1 for the samples of the condition and otherwise 0.
    ``(n_cells, n_permutations)``.
    """
    kept = np.where(own, -np.inf, logs)
    density = np.exp(kept - kept.max(axis=1, keepdims=True))
    used = (~own).astype(np.float64)
    of_condition = (density @ treated) / (used @ treated)
    of_others = (density @ (1 - treated)) / (used @ (1 - treated))
    above, below = (np.maximum(density, SMALLEST_DENSITY) for density in (of_condition, of_others))
    return np.log(above) - np.log(below)
