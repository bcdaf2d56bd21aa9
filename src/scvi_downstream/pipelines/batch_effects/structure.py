"""Batch structure of one embedding: how well batches mix, and whether a classifier can tell them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from scvi_downstream.metrics.batch_silhouette import batch_asw
from scvi_downstream.metrics.bras import bras
from scvi_downstream.metrics.kbet import acceptance_rate, kbet_on_graph
from scvi_downstream.metrics.lisi import median_batches, neighbor_weights
from scvi_downstream.metrics.pcr import explained_by_batch
from scvi_downstream.neighbors import find_neighbors, fuzzy_union
from scvi_downstream.parameters import UNKNOWN, BatchEffectOptions
from scvi_downstream.statistics.permutation import (
    PermutationTest,
    compare_with_null,
    exchangeable_share,
    permute_within,
)

from .design import Design, codes
from .judgement import fewest_permutations
from .logistic import cross_validated_auc
from .neighbor_classifier import neighbor_auc

_K_LISI = 90
# kBET and iLISI of perfectly mixed batches are not 1: these many permutations say what they are.
_MIXED = 20
# Cells times batches times dimensions times permutations that the linear classifier may take: about 20 s.
_MOST_LINEAR_WORK = 6e9
FEWEST_PERMUTATIONS = 39
logger = logging.getLogger(__name__)
COLUMNS = (
    "stage", "representation", "n_cells", "n_batches", "n_dims", "kbet", "kbet_mixed", "kbet_within_labels",
    "ilisi", "ilisi_mixed", "batch_asw", "bras", "pcr",
    *(
        f"{classifier}_{part}"
        for classifier in ("linear", "neighbor")
        for part in ("auc", "null_mean", "null_sd", "null_low", "null_high", "p", "permutations")
    ),
    "n_classified", "exchangeable_share", "unit", "dropped",
)  # fmt: skip


def measure(
    points: np.ndarray, design: Design, options: BatchEffectOptions, *, seed: int, label: str
) -> dict[str, Any]:
    """All measurements of batch structure in one embedding.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    design
        Batch and biology of the same cells.
    options
        Neighbours, folds, permutations.
    seed
        Of folds and permutations.
    label
        What the progress line says.

    Returns
    -------
    Values of ``COLUMNS`` but the first two; NaN for what the data do not allow.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Korsunsky et al. (2019),
    doi:10.1038/s41592-019-0619-0; Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    batches, strata = codes(design.batches), _strata(design)
    n_batches = int(batches.max()) + 1
    row: dict[str, Any] = {"n_cells": len(batches), "n_batches": n_batches, "n_dims": points.shape[1]}
    row["dropped"] = "\t".join(design.dropped)
    if n_batches < 2:
        return row
    arranged = permute_within(batches, strata, _MIXED, seed)
    return {
        **row,
        **_mixing(points, arranged, options.n_neighbors),
        **_mixing_within_labels(points, design, options.n_neighbors),
        "pcr": explained_by_batch(points, batches),
        **_classify(points, batches, strata, options, seed, label),
        "unit": "cell",
    }


def _strata(design: Design) -> np.ndarray:
    return np.zeros(len(design.cells), dtype=int) if design.biology is None else codes(design.biology)


def _mixing(points: np.ndarray, arranged: np.ndarray, k: int) -> dict[str, float]:
    indices, distances = find_neighbors(points, max(k, _K_LISI), exact=True, seed=0)
    nearest = indices[:, :k]
    own, own_distances = indices[:, :_K_LISI], distances[:, :_K_LISI]
    weights = neighbor_weights(own, own_distances)
    kbet = [acceptance_rate(nearest, batches) for batches in arranged]
    lisi = [median_batches(weights, own, batches) for batches in arranged]
    return {
        "kbet": kbet[0],
        "kbet_mixed": float(np.mean(kbet[1:])),
        "ilisi": lisi[0],
        "ilisi_mixed": float(np.mean(lisi[1:])),
    }


def _mixing_within_labels(points: np.ndarray, design: Design, k: int) -> dict[str, float]:
    """Metrics of scib-metrics that compare batches inside each label; nothing without labels."""
    if design.labels is None:
        return {}
    known = (design.labels != UNKNOWN).to_numpy()
    if not known.any():
        return {}
    latent = np.ascontiguousarray(points[known], dtype=np.float32)
    labels, batches = codes(design.labels[known]), codes(design.batches[known])
    graph = fuzzy_union(*find_neighbors(latent, k, exact=True, seed=0))
    return {
        "kbet_within_labels": kbet_on_graph(graph.tocsr(), batches, labels),
        "batch_asw": batch_asw(latent, labels, batches),
        "bras": bras(latent, labels, batches),
    }


def _classify(
    points: np.ndarray,
    batches: np.ndarray,
    strata: np.ndarray,
    options: BatchEffectOptions,
    seed: int,
    label: str,
) -> dict[str, Any]:
    """Both classifiers, on batches with at least a cell a fold."""
    large = (np.bincount(batches) >= options.n_folds)[batches]
    points, strata = points[large], strata[large]
    batches = np.unique(batches[large], return_inverse=True)[1]
    found: dict[str, Any] = {"n_classified": int(large.sum())}
    if len(np.unique(batches)) < 2:
        return found
    found["exchangeable_share"] = exchangeable_share(batches, strata)
    n_permutations = wanted_permutations(options)
    if n_permutations > options.n_permutations:
        logger.info(
            "%s: %d permutations in place of %d, the fewest whose p-values can reach batch_effects.fdr = %g",
            label,
            n_permutations,
            options.n_permutations,
            options.fdr,
        )
    arranged = permute_within(batches, strata, n_permutations, seed)
    k = min(options.n_neighbors, len(points) - 1)
    neighbors = find_neighbors(points, k + 1, exact=True, seed=0)[0][:, 1:]
    linear = arranged[: 1 + affordable(points.shape, int(batches.max()) + 1, options)]
    tests = {
        "linear": cross_validated_auc(points, linear, options.n_folds, seed=seed, label=label),
        "neighbor": neighbor_auc(neighbors, arranged),
    }
    for classifier, areas in tests.items():
        found |= _prefixed(classifier, compare_with_null(areas))
    return found


def wanted_permutations(options: BatchEffectOptions) -> int:
    """Those asked for, or as many as the level of the tests needs."""
    return max(options.n_permutations, fewest_permutations(options.fdr))


def affordable(shape: tuple[int, ...], n_batches: int, options: BatchEffectOptions) -> int:
    """Permutations of the linear classifier: fewer than asked for when they would take minutes."""
    n_cells, n_dims = shape
    one = n_cells * n_batches * (n_dims + 30) * options.n_folds
    fewest = max(FEWEST_PERMUTATIONS, fewest_permutations(options.fdr))
    return int(min(wanted_permutations(options), max(fewest, _MOST_LINEAR_WORK // one)))


def _prefixed(classifier: str, test: PermutationTest) -> dict[str, float]:
    return {
        f"{classifier}_{'auc' if name == 'observed' else name}": value for name, value in vars(test).items()
    }
