"""Batch structure of an embedding: do batches mix, can a classifier tell them, and do labels stay apart."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import find_neighbors, fuzzy_union
from scvi_downstream.pipelines.batch_effects.classifiers import cross_validated_auc, neighbor_auc
from scvi_downstream.pipelines.batch_effects.design import Design, choose_cells, codes, embeddings_of
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.scoring.kbet import acceptance_rate, kbet_on_graph
from scvi_downstream.scoring.mixing import explained_by_batch, median_batches, neighbor_weights
from scvi_downstream.scoring.resampling import count_by_row
from scvi_downstream.scoring.silhouette import batch_asw, bras
from scvi_downstream.statistics.correlation import bootstrap_weights
from scvi_downstream.statistics.testing import compare_with_null, exchangeable_share, permute_within

logger = logging.getLogger(__name__)

CLASSIFIERS = ("linear", "neighbor")
PARTS = ("auc", "null_mean", "null_sd", "null_low", "null_high", "p", "permutations")
"""What is told of each classifier."""
COLUMNS = (
    "stage", "representation", "n_cells", "n_batches", "n_dims", "kbet", "kbet_mixed", "kbet_within_labels",
    "ilisi", "ilisi_mixed", "batch_asw", "bras", "pcr",
    *(f"{classifier}_{part}" for classifier in CLASSIFIERS for part in PARTS),
    "n_classified", "exchangeable_share", "unit", "dropped",
)  # fmt: skip
SEPARATION_COLUMNS = (
    "label", "stage", "representation", "n_cells", "recall", "low", "high", "change", "change_low",
    "change_high", "vanishes", "merges_into", "merged_share", "main_batch", "main_batch_share",
)  # fmt: skip
# Neighbours of iLISI: three times its perplexity of 30, as in scib-metrics.
K_LISI = 90
# kBET and iLISI of perfectly mixed batches are not 1: these many permutations say what they are.
N_MIXED = 20
# Cells times batches times dimensions times permutations that the linear classifier may take: about 20 s.
MOST_LINEAR_WORK = 6e9
FEWEST_PERMUTATIONS = 39
# A recall that falls by more than this, its 95 % interval included, is a label that vanishes.
VANISHING_FALL = 0.1
FEWEST_CELLS = 10
N_VOTES = 15
N_REPLICATES = 1000
INTERVAL = (2.5, 97.5)


def measure_batch_structure(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Mixing of batches and classifiers of the batch, one row a representation.

    Parameters
    ----------
    counts
        obs holds the study's keys.
    pca_latent, latent, corrected_latent
        Coordinates before the model, on its latent, and of corrected expression (empty when there is none).
    keys, options
        The study's obs columns; most cells, neighbours, folds, permutations.
    seed
        Of the sample of cells, of folds and permutations.

    Returns
    -------
    ``COLUMNS``; see :func:`measure`.
    """
    design = choose_cells(counts, keys, options, seed)
    rows = []
    for (stage, name), points in embeddings_of(design, pca_latent, latent, corrected_latent).items():
        found = measure(points, design, options, seed=seed, label=f"telling batches by {name}")
        rows.append({"stage": stage, "representation": name, **found})
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def measure(
    points: np.ndarray, design: Design, options: BatchEffectOptions, *, seed: int, label: str
) -> dict[str, Any]:
    """All measurements of batch structure in one embedding.

    Parameters
    ----------
    points, design, options
        ``(n_cells, n_dims)``; batch and biology of the same cells; neighbours, folds, permutations.
    seed, label
        Of folds and permutations; what the progress line says.

    Returns
    -------
    Values of ``COLUMNS`` but the first two; NaN for what the data do not allow.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Korsunsky et al. (2019),
    doi:10.1038/s41592-019-0619-0; Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    batches = codes(design.batches)
    strata = np.zeros(len(batches), dtype=int) if design.biology is None else codes(design.biology)
    n_batches = int(batches.max()) + 1
    row: dict[str, Any] = {"n_cells": len(batches), "n_batches": n_batches, "n_dims": points.shape[1]}
    row["dropped"] = "\t".join(design.dropped)
    if n_batches < 2:
        return row
    arranged = permute_within(batches, strata, N_MIXED, seed)
    return {
        **row,
        **_mixing(points, arranged, options.n_neighbors),
        **_mixing_within_labels(points, design, options.n_neighbors),
        "pcr": explained_by_batch(points, batches),
        **_classify(points, batches, strata, options, seed, label),
        "unit": "cell",
    }


def _mixing(points: np.ndarray, arranged: np.ndarray, k: int) -> dict[str, float]:
    indices, distances = find_neighbors(points, max(k, K_LISI), exact=True, seed=0)
    own = indices[:, :K_LISI]
    weights = neighbor_weights(own, distances[:, :K_LISI])
    kbet = [acceptance_rate(indices[:, :k], batches) for batches in arranged]
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
        message = (
            "%s: %d permutations in place of %d, the fewest whose p-values can reach batch_effects.fdr = %g"
        )
        logger.info(message, label, n_permutations, options.n_permutations, options.fdr)
    arranged = permute_within(batches, strata, n_permutations, seed)
    linear = arranged[: 1 + affordable(points.shape, int(batches.max()) + 1, options)]
    tests = {
        "linear": cross_validated_auc(points, linear, options.n_folds, seed=seed, label=label),
        "neighbor": neighbor_auc(_nearest_others(points, options.n_neighbors), arranged),
    }
    for classifier, areas in tests.items():
        test = vars(compare_with_null(areas))
        found |= {f"{classifier}_{'auc' if name == 'observed' else name}": test[name] for name in test}
    return found


def wanted_permutations(options: BatchEffectOptions) -> int:
    """Those asked for, or as many as the level of the tests needs."""
    return max(options.n_permutations, fewest_permutations(options.fdr))


def affordable(shape: tuple[int, ...], n_batches: int, options: BatchEffectOptions) -> int:
    """Permutations of the linear classifier: fewer than asked for when they would take minutes."""
    n_cells, n_dims = shape
    one = n_cells * n_batches * (n_dims + 30) * options.n_folds
    fewest = max(FEWEST_PERMUTATIONS, fewest_permutations(options.fdr))
    return int(min(wanted_permutations(options), max(fewest, MOST_LINEAR_WORK // one)))


def fewest_permutations(fdr: float) -> int:
    """Permutations from which a p-value can be as small as the level of one classifier."""
    least = max(ceil(len(CLASSIFIERS) / fdr) - 1, 1)
    return least if 1 / (1 + least) <= fdr / len(CLASSIFIERS) else least + 1


def compare_label_separation(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Whether labels stay apart, one row a label and representation: see :func:`compare_separation`.

    Parameters are those of :func:`measure_batch_structure`.
    """
    design = choose_cells(counts, keys, options, seed)
    return compare_separation(embeddings_of(design, pca_latent, latent, corrected_latent), design, seed=seed)


def compare_separation(
    embeddings: Mapping[tuple[str, str], np.ndarray], design: Design, *, seed: int
) -> pd.DataFrame:
    """Recall of each label in each embedding, and its change from the first.

    ``embeddings``: (stage, representation) → ``(n_cells, n_dims)``, the uncorrected first. Cells of unknown label are
    left out; ``seed`` is that of the bootstrap over the cells of a label. A label ``vanishes`` when the interval of
    its change lies below ``-VANISHING_FALL``; ``merges_into`` is the label that most of its missed cells are taken
    for. Empty with fewer than two labels.
    """
    if design.labels is None:
        return pd.DataFrame(columns=list(SEPARATION_COLUMNS))
    known = np.flatnonzero(design.labels != UNKNOWN)
    labels, batches = design.labels.iloc[known], design.batches.iloc[known]
    names, own = np.unique(labels.to_numpy(dtype=str)), codes(labels)
    if len(names) < 2:
        return pd.DataFrame(columns=list(SEPARATION_COLUMNS))
    predicted_labels = {key: label_by_neighbors(points[known], own) for key, points in embeddings.items()}
    before = next(iter(predicted_labels.values())) == own
    rows = [
        {
            "label": name,
            "stage": stage,
            "representation": representation,
            **_recall_change(predicted[own == code] == code, before[own == code], seed),
            **_destination(predicted[own == code], code, names),
            **_main_batch(batches[own == code]),
        }
        for code, name in enumerate(names)
        for (stage, representation), predicted in predicted_labels.items()
    ]
    return pd.DataFrame(rows, columns=list(SEPARATION_COLUMNS))


def label_by_neighbors(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label with the most votes of the nearest other cells, each vote divided by the size of its label.

    Rare labels thus count as much as common ones; among equal votes the nearer neighbour decides.

    ``points`` are ``(n_cells, n_dims)``, ``labels`` ``(n_cells,)`` codes from 0, every one of which occurs; and so
    are those given.
    """
    around = labels[_nearest_others(points, N_VOTES)]
    sizes = np.bincount(labels)
    votes = (1 - 1e-3 * np.arange(around.shape[1])) / sizes[around]
    return count_by_row(around, len(sizes), votes).argmax(axis=1)


def _nearest_others(points: np.ndarray, k: int) -> np.ndarray:
    """``(n_cells, k)`` positions of each cell's nearest others, fewer where there are not as many."""
    k = min(k, len(points) - 1)
    return find_neighbors(points, k + 1, exact=True, seed=0)[0][:, 1:]


def _recall_change(found: np.ndarray, before: np.ndarray, seed: int) -> dict[str, float | bool]:
    """Recall and its change with percentile intervals of a bootstrap over the label's cells."""
    n_cells = len(found)
    weights = bootstrap_weights(n_cells, N_REPLICATES, seed)
    change = found.astype(float) - before
    low, high = np.percentile(weights @ found / n_cells, INTERVAL)
    change_low, change_high = np.percentile(weights @ change / n_cells, INTERVAL)
    recall = {"n_cells": n_cells, "recall": float(found.mean()), "low": float(low), "high": float(high)}
    ends = {"change_low": float(change_low), "change_high": float(change_high)}
    vanishes = bool(n_cells >= FEWEST_CELLS and change_high < -VANISHING_FALL)
    return {**recall, "change": float(change.mean()), **ends, "vanishes": vanishes}


def _destination(predicted: np.ndarray, code: int, names: np.ndarray) -> dict[str, object]:
    missed = np.bincount(predicted[predicted != code], minlength=len(names))
    if not missed.any():
        return {"merges_into": "", "merged_share": 0.0}
    return {"merges_into": names[missed.argmax()], "merged_share": float(missed.max() / len(predicted))}


def _main_batch(batches: pd.Series) -> dict[str, object]:
    shares = batches.value_counts(normalize=True)
    return {"main_batch": str(shares.index[0]), "main_batch_share": float(shares.iloc[0])}
