"""States of cells, and distances between samples in the cells of each group, mini-batch by mini-batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.families import require_capability
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.mrvi import LocalStates, local_states
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.samples.design import Contrast, SampleDesign, permutation_p
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.progress import duration
from scvi_downstream.runtime.slow_types import MRVI, AnnData, Tensor
from scvi_downstream.runtime.threads import quiet

logger = logging.getLogger(__name__)
VALUES_AT_ONCE = 2**24
"""Numbers that a mini-batch may hold: 64 MB of single precision."""
VALUES_OF_STATE = 1024
"""Numbers that the attention of MrVI holds for a cell in a sample."""
LARGEST_BATCH = 256


def attach_mrvi(fitted: SavedModel, counts: AnnData, accelerator: str) -> Any:
    """The fitted MrVI with its cells.

    Raises
    ------
    InputError
        The model is of a family that does not compare samples.
    """
    require_capability(fitted.family, "sample_distances", "samples")
    return fitted.attach(counts, accelerator)


def read_latent_z(fitted: SavedModel, counts: AnnData, accelerator: str) -> pd.DataFrame:
    """State z of every cell, with what its sample changes: `n_cells` × ``z_1``, …, posterior means.

    Parameters
    ----------
    fitted, counts, accelerator
        Saved MrVI; all cells, all genes; where the encoder runs.
    """
    with quiet():
        z = attach_mrvi(fitted, counts, accelerator).get_latent_representation(give_z=True)
    columns = [f"z_{i + 1}" for i in range(z.shape[1])]
    return pd.DataFrame(z, index=counts.obs_names.rename("cell"), columns=columns)


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Sums over the cells of each group; nothing here grows with the number of cells.

    Attributes
    ----------
    distances
        ``(n_groups, n_samples, n_samples)`` mean over cells of the distance between the states z of two samples.
    products
        ``(n_groups, n_samples, n_samples)`` mean over cells of the inner products of their shifts.
    """

    distances: np.ndarray
    products: np.ndarray


def batch_size_for(n_samples: int) -> int:
    """Cells whose states and distances of all samples fit into about 100 MB."""
    return int(np.clip(VALUES_AT_ONCE // (n_samples * max(n_samples, VALUES_OF_STATE)), 1, LARGEST_BATCH))


def log_forecast(model: MRVI) -> float:
    """Measure what the distances of all cells will take from one mini-batch, say it, and return the seconds."""
    n_cells, n_samples = model.adata.n_obs, len(model.sample_order)
    batch_size = batch_size_for(n_samples)
    first = np.arange(min(batch_size, n_cells))
    seconds = np.inf
    for _ in range(2):
        start = time.perf_counter()
        for states in local_states(model, first, batch_size=batch_size):
            _pairwise_distances(states.base[:, None] + states.shifts)
        seconds = min(seconds, time.perf_counter() - start)
    whole = seconds / len(first) * n_cells
    logger.info(
        "sample distances: %d cells × %d² samples, about %s; expression and noise take at most max_cells_per_group",
        n_cells, n_samples, duration(whole),
    )  # fmt: skip
    return whole


def sum_distances(model: MRVI, members: np.ndarray) -> GroupSums:
    """Mean distances and inner products of samples over the cells of each group, ``members`` ``(n_groups, n_cells)``.

    Equal to ``MRVI.get_local_sample_distances(groupby=…)``; memory is that of one mini-batch and one matrix a
    group (Boyeau et al. 2024, doi:10.1101/2022.10.04.510898).
    """
    n_samples = len(model.sample_order)
    distances = np.zeros((len(members), n_samples * n_samples))
    products = np.zeros_like(distances)
    batch_size = batch_size_for(n_samples)
    cells = np.flatnonzero(members.any(axis=0))
    for states in local_states(model, cells, batch_size=batch_size, label="sample distances"):
        inside = members[:, states.cells].astype(np.float64)
        n_cells = len(states.cells)
        apart = _pairwise_distances(states.base[:, None] + states.shifts)
        distances += inside @ apart.double().cpu().numpy().reshape(n_cells, -1)
        inner = states.shifts @ states.shifts.transpose(1, 2)
        products += inside @ inner.double().cpu().numpy().reshape(n_cells, -1)
    sizes = members.sum(axis=1)[:, None]
    shape = (len(members), n_samples, n_samples)
    return GroupSums((distances / sizes).reshape(shape), (products / sizes).reshape(shape))


def normalized_distances(model: MRVI, cells: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Mean over cells of (distance - noise) / spread of noise; 0: samples differ no more than draws of one do.

    The noise of a cell is the distance between two draws of its own z from the posterior; the distance of two
    samples is taken between draws of them, too. This is ``get_local_sample_distances(normalize_distances=True)``
    of the cells at these positions, with ``draws`` pairs of draws. ``(n_samples, n_samples)``, NaN on the
    diagonal.
    """
    n_samples = len(model.sample_order)
    total = np.zeros((n_samples, n_samples))
    batch_size = max(1, batch_size_for(n_samples) // 2)
    with reproducible(seed):
        for states in local_states(model, cells, batch_size=batch_size):
            total += _normalized_of_batch(model, states, draws).double().sum(dim=0).cpu().numpy()
    mean = total / len(cells)
    np.fill_diagonal(mean, np.nan)
    return (mean + mean.T) / 2


def _normalized_of_batch(model: MRVI, states: LocalStates, draws: int) -> Tensor:
    import torch

    n_samples = states.shifts.shape[1]
    every = torch.arange(n_samples, device=states.u.device)
    with torch.inference_mode():
        own = torch.stack([_draw_states(model, states, states.own[:, None])[:, 0] for _ in range(2 * draws)])
        noise = (own[:draws] - own[draws:]).norm(dim=-1)
        mean, spread = noise.mean(dim=0), noise.std(dim=0)
        apart = torch.zeros((len(states.u), n_samples, n_samples), device=states.u.device)
        for _ in range(draws):
            apart += _pairwise_distances(_draw_states(model, states, every.expand(len(states.u), -1)))
    return (apart / draws - mean[:, None, None]) / spread[:, None, None]


def _draw_states(model: MRVI, states: LocalStates, codes: Tensor) -> Tensor:
    """States z of ``codes`` (n_cells, n) with an own draw of u each, ``(n_cells, n, n_latent)``."""
    import torch

    n = codes.shape[1]
    u, scale = states.u.repeat_interleave(n, dim=0), states.scale.repeat_interleave(n, dim=0)
    noise = torch.randn(u.shape, device="cpu").to(u.device)
    base, shifts = model.module.qz(u + scale * noise, codes.reshape(-1))
    return (base + shifts[..., : base.shape[-1]]).reshape(len(states.u), n, -1)


def _pairwise_distances(z: Tensor) -> Tensor:
    """``(n_cells, n_samples, n_latent)`` → Euclidean distances ``(n_cells, n_samples, n_samples)``."""
    import torch

    with torch.inference_mode():
        return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")


def tabulate_distances(
    sums: GroupSums, normalized: np.ndarray, design: SampleDesign, options: SamplesOptions
) -> pd.DataFrame:
    """One row a group and pair of samples; ``normalized`` is ``(n_groups, n_samples, n_samples)``.

    Returns
    -------
    ``group``, ``sample_1``, ``sample_2``, ``distance`` (units of z), ``normalized_distance``, ``n_cells`` of the
    group and of each sample in it, ``supported``: whether both have cells enough; otherwise the distance is what
    the model expects from other groups.
    """
    first, second = np.triu_indices(len(design.samples), k=1)
    names = np.array(design.samples, dtype=object)
    rows = [
        pd.DataFrame(
            {
                "group": name,
                "sample_1": names[first],
                "sample_2": names[second],
                "distance": sums.distances[g][first, second],
                "normalized_distance": normalized[g][first, second],
                "n_cells": int(design.members[g].sum()),
                "n_cells_1": design.cells[g][first],
                "n_cells_2": design.cells[g][second],
            }
        )
        for g, name in enumerate(design.groups)
    ]
    table = pd.concat(rows, ignore_index=True)
    least = table[["n_cells_1", "n_cells_2"]].min(axis=1)
    return table.assign(supported=least >= design.min_cells)


def distance_matrix(distances: pd.DataFrame, samples: Sequence[str], column: str = "distance") -> np.ndarray:
    """Symmetric ``(n_samples, n_samples)`` distances of the samples named, 0 on the diagonal.

    ``distances`` are the rows of one group of :func:`tabulate_distances`.
    """
    names = pd.Index(samples)
    ends = (distances[end].astype(str).to_numpy() for end in ("sample_1", "sample_2"))
    first, second = map(names.get_indexer, ends)
    known = (first >= 0) & (second >= 0)
    first, second = first[known], second[known]
    matrix = np.zeros((len(names), len(names)))
    matrix[first, second] = matrix[second, first] = distances[column].to_numpy()[known]
    return matrix


def effect_of_contrast(products: np.ndarray, contrast: Contrast) -> tuple[float, float]:
    """How far a condition moves the cells of a group, and its permutation p.

    Root mean square over cells of the length of the difference of mean shifts (units of z), from ``products`` of
    :class:`GroupSums`; share of the permutations with as large a one.
    """
    gram = products[np.ix_(contrast.samples, contrast.samples)]
    weights = contrast.weights()
    squared = np.maximum(np.einsum("ps,st,pt->p", weights, gram, weights), 0)
    return float(np.sqrt(squared[0])), float(permutation_p(squared))


def share_of_cells_moved(model: MRVI, cells: np.ndarray, contrast: Contrast, alpha: float) -> float:
    """Share of cells in which no more than ``alpha`` of the permutations move the cell as far as the condition does.

    ``cells`` are positions. Without an effect the expected share is at most ``alpha``.
    """
    import torch

    weights = torch.as_tensor(contrast.weights(), dtype=torch.float32, device=model.device)
    n_latent = model.module.n_latent
    batch_size = int(np.clip(VALUES_AT_ONCE // (len(weights) * n_latent), 1, LARGEST_BATCH))
    moved = 0
    for states in local_states(model, cells, samples=contrast.samples, batch_size=batch_size):
        length = torch.einsum("ps,nsl->npl", weights, states.shifts).norm(dim=-1).double().cpu().numpy()
        moved += int((permutation_p(length) <= alpha).sum())
    return moved / len(cells)
