"""scib-metrics on the shared neighbours graph: how well cell types stay apart and batches mix."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.metrics.bras import bras
from scvi_downstream.metrics.eligibility import (
    stratified_sample,
    why_no_batches,
    why_no_labels,
    why_not_nested,
)
from scvi_downstream.metrics.kbet import kbet_per_label
from scvi_downstream.neighbors import NeighborsGraph, find_neighbors
from scvi_downstream.parameters import UNKNOWN

if TYPE_CHECKING:
    from scib_metrics.nearest_neighbors import NeighborsResults

logger = logging.getLogger(__name__)
BIO_CONSERVATION = (
    "isolated_labels",
    "leiden_nmi",
    "leiden_ari",
    "kmeans_nmi",
    "kmeans_ari",
    "silhouette_label",
    "clisi",
)
BATCH_CORRECTION = ("bras", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
_WITHOUT_LABELS = ("ilisi", "pcr_comparison")
BIO_WEIGHT, BATCH_WEIGHT = 0.6, 0.4
_K_LEIDEN, _K_KBET, _K_LISI = 15, 50, 90


@dataclass(frozen=True)
class Cells:
    """What a metric sees: ``(n_cells, n_dims)`` latent, its kNN, labels and batches ``(n_cells,)``."""

    latent: np.ndarray
    neighbors: NeighborsResults
    labels: np.ndarray
    batches: np.ndarray

    def nearest(self, k: int) -> NeighborsResults:
        """The first ``k`` neighbours, or as many as there are."""
        return self.neighbors.subset_neighbors(min(k, self.neighbors.n_neighbors))

    @cached_property
    def silhouettes(self) -> np.ndarray:
        """Silhouette width of each cell in its label, scaled to [0, 1]; two metrics share it."""
        from sklearn.metrics import silhouette_samples

        return (silhouette_samples(self.latent, self.labels) + 1) / 2


def share_neighbors(latent: np.ndarray, graph: NeighborsGraph, chosen: np.ndarray) -> NeighborsResults:
    """The shared search when all cells are chosen, else an exact search of their own.

    Rows of a graph over other cells as well would hold neighbours that a metric has to ignore, and fewer the
    more of these there are: a subset is therefore searched anew.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)`` of all cells.
    graph
        Their neighbours.
    chosen
        Positions of the cells wanted.
    """
    from scib_metrics.nearest_neighbors import NeighborsResults

    k = min(_K_LISI, len(chosen))
    if len(chosen) == len(graph.cells) and graph.indices.shape[1] >= k:
        indices, distances = graph.indices[:, :k], graph.distances[:, :k]
    else:
        indices, distances = find_neighbors(latent[chosen], k, exact=True, seed=0)
    return NeighborsResults(indices=np.asarray(indices), distances=np.asarray(distances))


def label_metrics(cells: Cells, *, optimise_leiden: bool) -> dict[str, Callable[[], Any]]:
    """Metrics of how well labels stay apart, on labelled cells only."""
    import scib_metrics

    labels = cells.labels
    clustering: dict[str, Callable[[], Any]] = {
        "leiden": lambda: scib_metrics.nmi_ari_cluster_labels_leiden(cells.nearest(_K_LEIDEN), labels)
    }
    if not optimise_leiden:
        clustering = {"kmeans": lambda: scib_metrics.nmi_ari_cluster_labels_kmeans(cells.latent, labels)}
    return {
        **clustering,
        "silhouette_label": lambda: float(np.mean(cells.silhouettes)),
        "clisi": lambda: scib_metrics.clisi_knn(cells.nearest(_K_LISI), labels),
        "graph_connectivity": lambda: scib_metrics.graph_connectivity(cells.nearest(_K_LEIDEN), labels),
    }


def isolated_labels(silhouettes: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Mean silhouette of the labels found in fewest batches, as :func:`scib_metrics.isolated_labels`."""
    by_label = pd.DataFrame({"silhouette": silhouettes, "batch": batches}).groupby(labels)
    n_batches = by_label["batch"].nunique()
    return float(by_label["silhouette"].mean()[n_batches == n_batches.min()].mean())


def label_and_batch_metrics(cells: Cells) -> dict[str, Callable[[], Any]]:
    """Metrics that compare batches inside labels, on labelled cells only."""
    labels, batches = cells.labels, cells.batches
    return {
        "isolated_labels": lambda: isolated_labels(cells.silhouettes, labels, batches),
        "bras": lambda: bras(cells.latent, labels, batches),
        "kbet": lambda: kbet_per_label(cells.nearest(_K_KBET), batches, labels),
    }


def batch_metrics(cells: Cells, before: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Metrics of how well batches mix, on all cells."""
    import scib_metrics

    return {
        "ilisi": lambda: scib_metrics.ilisi_knn(cells.nearest(_K_LISI), cells.batches),
        "pcr_comparison": lambda: scib_metrics.pcr_comparison(
            before, cells.latent, cells.batches, categorical=True
        ),
    }


def compute_metrics(
    latent: np.ndarray,
    graph: NeighborsGraph,
    before: np.ndarray,
    labels: pd.Series | None,
    batches: pd.Series | None,
    *,
    max_cells: int,
    optimise_leiden: bool,
    seed: int,
) -> dict[str, Any]:
    """All metrics that the data allow, their aggregates, and why the others are left out.

    The same numbers as :class:`scib_metrics.benchmark.Benchmarker` on labelled cells. iLISI and PCR
    comparison need no labels and see all cells.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    graph
        Its neighbours.
    before
        ``(n_cells, n_pcs)`` embedding without integration, for the PCR comparison.
    labels, batches
        ``(n_cells,)`` or ``None``; cells labelled ``unknown`` are left out of what needs labels.
    max_cells
        Beyond this, metrics see a sample stratified by label and batch, with its own exact neighbours.
    optimise_leiden
        NMI and ARI at the best of ten Leiden resolutions, else of k-means.
    seed
        Of the sample.

    Returns
    -------
    Metrics in [0, 1], ``scib_bio_conservation``, ``scib_batch_correction``, ``scib_total``,
    ``left_out`` (metric → reason), ``n_cells``, ``n_labelled_cells``, ``seconds``.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8; Rautenstrauch & Ohler (2025),
    doi:10.1038/s41587-025-02743-4.
    """
    start = time.perf_counter()
    chosen = stratified_sample([labels, batches], len(latent), max_cells, seed)
    labelled = chosen if labels is None else chosen[labels.iloc[chosen].astype(str).to_numpy() != UNKNOWN]
    no_labels, no_batches = why_no_labels(labels, labelled), why_no_batches(batches, chosen)
    nested = no_labels or no_batches or why_not_nested(labels, batches, labelled)
    unused = "kmeans" if optimise_leiden else "leiden"
    left_out = {name: nested for name in ("isolated_labels", "bras", "kbet") if nested}
    left_out |= {name: no_batches for name in _WITHOUT_LABELS if no_batches}
    if no_labels:
        needing = [name for name in (*BIO_CONSERVATION, *BATCH_CORRECTION) if name not in _WITHOUT_LABELS]
        left_out |= {name: no_labels for name in needing if not name.startswith(unused)}
    wanted: dict[str, Callable[[], Any]] = {}
    everyone = _cells(latent, graph, chosen, labels, batches)
    if not no_labels:
        own = everyone if len(labelled) == len(chosen) else _cells(latent, graph, labelled, labels, batches)
        wanted |= label_metrics(own, optimise_leiden=optimise_leiden)
        wanted |= {} if nested else label_and_batch_metrics(own)
    if not no_batches:
        wanted |= batch_metrics(everyone, before[chosen])
    scores = _evaluate(wanted, left_out)
    return {
        **scores,
        **aggregate(scores),
        "left_out": left_out,
        "n_cells": len(chosen),
        "n_labelled_cells": 0 if labels is None else len(labelled),
        "seconds": time.perf_counter() - start,
    }


def aggregate(scores: dict[str, float]) -> dict[str, float]:
    """Means of the two groups and their total, 0.6 bio conservation + 0.4 batch correction.

    A group is the mean of the metrics that exist; graph connectivity alone does not make one, nor one group a
    total.
    """
    bio = [scores[name] for name in BIO_CONSERVATION if name in scores]
    batch = [scores[name] for name in BATCH_CORRECTION if name in scores]
    groups = {}
    if bio:
        groups["scib_bio_conservation"] = float(np.mean(bio))
    if any(name in scores for name in BATCH_CORRECTION if name != "graph_connectivity"):
        groups["scib_batch_correction"] = float(np.mean(batch))
    if len(groups) == 2:
        groups["scib_total"] = (
            BIO_WEIGHT * groups["scib_bio_conservation"] + BATCH_WEIGHT * groups["scib_batch_correction"]
        )
    return groups


def _cells(
    latent: np.ndarray,
    graph: NeighborsGraph,
    chosen: np.ndarray,
    labels: pd.Series | None,
    batches: pd.Series | None,
) -> Cells:
    return Cells(
        latent=np.ascontiguousarray(latent[chosen], dtype=np.float32),
        neighbors=share_neighbors(latent, graph, chosen),
        labels=_names(labels, chosen),
        batches=_names(batches, chosen),
    )


def _names(column: pd.Series | None, chosen: np.ndarray) -> np.ndarray:
    return np.array([]) if column is None else column.iloc[chosen].astype(str).to_numpy(dtype=object)


def _evaluate(wanted: dict[str, Callable[[], Any]], left_out: dict[str, str]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, metric in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = metric()
        values = (
            {f"{name}_{part}": part_value for part, part_value in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
        for key, number in values.items():
            if np.isfinite(number):
                scores[key] = float(number)
            else:
                left_out[key] = "undefined on these data"
    return {name: scores[name] for name in (*BIO_CONSERVATION, *BATCH_CORRECTION) if name in scores}
