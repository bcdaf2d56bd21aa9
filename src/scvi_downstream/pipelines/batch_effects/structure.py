"""Batch structure of one embedding: how well batches mix, and whether a classifier can tell them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import find_neighbors, fuzzy_union
from scvi_downstream.pipelines.batch_effects.classifiers import cross_validated_auc, neighbor_auc
from scvi_downstream.pipelines.batch_effects.design import Design, codes
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.scoring.kbet import acceptance_rate, kbet_on_graph
from scvi_downstream.scoring.mixing import explained_by_batch, median_batches, neighbor_weights
from scvi_downstream.scoring.silhouette import batch_asw, bras
from scvi_downstream.statistics.testing import (
    PermutationTest,
    compare_with_null,
    exchangeable_share,
    permute_within,
)

logger = logging.getLogger(__name__)


Verdict = Literal[
    "none", "removed", "weaker", "kept", "stronger", "brought in", "confounded", "one batch", "not testable"
]
CLASSIFIERS = {"linear": "a linear classifier", "neighbor": "nearest neighbours"}
# An AUC that is this little above its null is detectable in many cells, but matters for nothing.
NEGLIGIBLE_EXCESS = 0.02
# Structure is weaker, or stronger, when its excess changes by more than this share.
CHANGED_SHARE = 0.1


def judge(stages: dict[str, dict[str, Any]], fdr: float) -> Verdict:
    """What became of the batch structure between the uncorrected embedding and the latent.

    Parameters
    ----------
    stages
        Rows of ``batch_effects`` by stage.
    fdr
        Level of the test by both classifiers together.
    """
    before, after = stages["before"], stages["after"]
    if before["n_batches"] < 2:
        return "one batch"
    if before["exchangeable_share"] == 0:
        return "confounded"
    if why_not_testable(before, fdr) or why_not_testable(after, fdr):
        return "not testable"
    return _compare(before, after, fdr)


def _compare(before: dict[str, Any], after: dict[str, Any], fdr: float) -> Verdict:
    if not is_present(before, fdr):
        return "brought in" if is_present(after, fdr) else "none"
    if not is_present(after, fdr):
        return "removed"
    change = relative_excess(after) / relative_excess(before)
    if change < 1 - CHANGED_SHARE:
        return "weaker"
    return "stronger" if change > 1 + CHANGED_SHARE else "kept"


def is_present(row: dict[str, Any], fdr: float) -> bool:
    """Whether either classifier tells batches better than chance, by more than is negligible."""
    return any(
        row[f"{name}_p"] <= fdr / len(CLASSIFIERS)
        and row[f"{name}_auc"] - row[f"{name}_null_mean"] >= NEGLIGIBLE_EXCESS
        for name in CLASSIFIERS
    )


def why_not_testable(row: dict[str, Any], fdr: float) -> str | None:
    """Reason why an absence of batch structure cannot be told from a missing result, if there is one."""
    if row["exchangeable_share"] == 0:
        return "every biology is found in one batch only"
    if is_present(row, fdr) or all(np.isfinite(row[f"{name}_p"]) for name in CLASSIFIERS):
        return None
    if np.isnan(row["exchangeable_share"]):
        return "fewer than two batches have a cell for every fold of the classifiers"
    return "a classifier has no finite result"


def fewest_permutations(fdr: float) -> int:
    """Permutations from which a p-value can be as small as the level of one classifier."""
    least = max(ceil(len(CLASSIFIERS) / fdr) - 1, 1)
    return least if 1 / (1 + least) <= fdr / len(CLASSIFIERS) else least + 1


def better_classifier(row: dict[str, Any]) -> str:
    """The classifier that lies farther above its null."""
    return max(CLASSIFIERS, key=lambda name: _excess(row, name))


def relative_excess(row: dict[str, Any]) -> float:
    """AUC above the null, as a share of what is possible, of the better classifier."""
    name = better_classifier(row)
    return _excess(row, name) / max(1 - row[f"{name}_null_mean"], 1e-9)


def _excess(row: dict[str, Any], name: str) -> float:
    return float(np.nan_to_num(row[f"{name}_auc"] - row[f"{name}_null_mean"], nan=-1.0))


_K_LISI = 90
# kBET and iLISI of perfectly mixed batches are not 1: these many permutations say what they are.
_MIXED = 20
# Cells times batches times dimensions times permutations that the linear classifier may take: about 20 s.
_MOST_LINEAR_WORK = 6e9
FEWEST_PERMUTATIONS = 39
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


SEPARATION_COLUMNS = (
    "label", "stage", "representation", "n_cells", "recall", "low", "high", "change", "change_low",
    "change_high", "vanishes", "merges_into", "merged_share", "main_batch", "main_batch_share",
)  # fmt: skip
# A recall that falls by more than this, its 95 % interval included, is a label that vanishes.
VANISHING_FALL = 0.1
FEWEST_CELLS = 10
# A label with this share of its cells in one batch is confined to it.
CONFINED_SHARE = 0.95
_NEIGHBORS = 15
_REPLICATES = 1000
_INTERVAL = (2.5, 97.5)


def compare_separation(
    embeddings: Mapping[tuple[str, str], np.ndarray], design: Design, *, seed: int
) -> pd.DataFrame:
    """Recall of each label in each embedding, and its change from the first.

    Parameters
    ----------
    embeddings
        (stage, representation) → ``(n_cells, n_dims)``, the uncorrected first.
    design
        Labels and batches of the same cells; cells of unknown label are left out.
    seed
        Of the bootstrap over the cells of a label.

    Returns
    -------
    One row a label and embedding. A label ``vanishes`` when the interval of its change lies below
    ``-VANISHING_FALL``; ``merges_into`` is the label that most of its missed cells are taken for. Empty
    with fewer than two labels.
    """
    if design.labels is None:
        return pd.DataFrame(columns=list(SEPARATION_COLUMNS))
    known = np.flatnonzero(design.labels != UNKNOWN)
    labels, batches = design.labels.iloc[known], design.batches.iloc[known]
    names, own = np.unique(labels.to_numpy(dtype=str)), codes(labels)
    if len(names) < 2:
        return pd.DataFrame(columns=list(SEPARATION_COLUMNS))
    told = {key: label_by_neighbors(points[known], own) for key, points in embeddings.items()}
    before = next(iter(told.values())) == own
    rows = [
        {
            "label": name,
            "stage": stage,
            "representation": representation,
            **_recall(predicted[own == code] == code, before[own == code], seed),
            **_destination(predicted[own == code], code, names),
            **_main_batch(batches[own == code]),
        }
        for code, name in enumerate(names)
        for (stage, representation), predicted in told.items()
    ]
    return pd.DataFrame(rows, columns=list(SEPARATION_COLUMNS))


def label_by_neighbors(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label with the most votes of the nearest other cells, each vote divided by the size of its label.

    Rare labels thus count as much as common ones; among equal votes the nearer neighbour decides.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    labels
        ``(n_cells,)`` codes from 0; every code occurs.

    Returns
    -------
    ``(n_cells,)`` codes.
    """
    k = min(_NEIGHBORS, len(points) - 1)
    neighbors = find_neighbors(points, k + 1, exact=True, seed=0)[0][:, 1:]
    sizes = np.bincount(labels)
    cells = np.arange(len(points))[:, None] * len(sizes) + labels[neighbors]
    votes = (1 - 1e-3 * np.arange(k)) / sizes[labels[neighbors]]
    total = np.bincount(cells.ravel(), weights=votes.ravel(), minlength=len(points) * len(sizes))
    return total.reshape(len(points), len(sizes)).argmax(axis=1)


def _recall(found: np.ndarray, before: np.ndarray, seed: int) -> dict[str, float | bool]:
    """Recall and its change with percentile intervals of a bootstrap over the label's cells."""
    n_cells = len(found)
    weights = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), _REPLICATES)
    change = found.astype(float) - before
    low, high = np.percentile(weights @ found / n_cells, _INTERVAL)
    change_low, change_high = np.percentile(weights @ change / n_cells, _INTERVAL)
    return {
        "n_cells": n_cells,
        "recall": float(found.mean()),
        "low": float(low),
        "high": float(high),
        "change": float(change.mean()),
        "change_low": float(change_low),
        "change_high": float(change_high),
        "vanishes": bool(n_cells >= FEWEST_CELLS and change_high < -VANISHING_FALL),
    }


def _destination(predicted: np.ndarray, code: int, names: np.ndarray) -> dict[str, object]:
    missed = np.bincount(predicted[predicted != code], minlength=len(names))
    if not missed.any():
        return {"merges_into": "", "merged_share": 0.0}
    return {"merges_into": names[missed.argmax()], "merged_share": float(missed.max() / len(predicted))}


def _main_batch(batches: pd.Series) -> dict[str, object]:
    shares = batches.value_counts(normalize=True)
    return {"main_batch": str(shares.index[0]), "main_batch_share": float(shares.iloc[0])}
