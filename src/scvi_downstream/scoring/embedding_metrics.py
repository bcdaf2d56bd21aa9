"""The scib-metrics of one embedding, as functions of how often each cell counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.metrics.agreement import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
)
from scvi_downstream.metrics.bras import batch_mixing
from scvi_downstream.metrics.connectivity import graph_connectivity
from scvi_downstream.metrics.kbet import acceptance, neighborhoods_by_label
from scvi_downstream.metrics.kbet_resamples import acceptance_in_resamples
from scvi_downstream.metrics.lisi import effective_groups, effective_groups_influence, neighbor_weights
from scvi_downstream.metrics.pcr import pcr_comparison
from scvi_downstream.metrics.silhouette import Silhouettes, against_nearest, euclidean
from scvi_downstream.metrics.weighted import mean_over_groups, weighted_median
from scvi_downstream.neighbors import fuzzy_union

from .clusters_of_resamples import (
    Clusterings,
    agreement_in_resamples,
    kmeans_clusterings,
    leiden_clusterings,
)
from .leiden_search import best_leiden

if TYPE_CHECKING:
    from scipy import sparse

type Metric = Callable[[np.ndarray], np.ndarray]
"""From ``(n_draws, n_cells)`` weights to ``(n_draws,)`` scores; weights of one give the stock score."""
type Metrics = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From ``(n_draws, n_cells)`` weights to ``(n_draws,)`` scores by name; weights of one give the stock scores."""

N_NEIGHBORS = 90
_K_LEIDEN, _K_KBET = 15, 50
_MIDDLE = (0.4, 0.6)


@dataclass(frozen=True)
class Cells:
    """What a metric sees: ``(n_cells, n_dims)`` latent, its ``(n_cells, k)`` kNN, labels and batches ``(n_cells,)``."""

    latent: np.ndarray
    indices: np.ndarray
    distances: np.ndarray
    labels: np.ndarray
    batches: np.ndarray

    @cached_property
    def silhouettes(self) -> Silhouettes:
        """Of the cells in their labels."""
        return against_nearest(euclidean(self.latent), self.labels)

    @cached_property
    def neighbor_weights(self) -> np.ndarray:
        """``(n_cells, k)`` weights of the neighbours for LISI."""
        return neighbor_weights(self.indices, self.distances)

    def connectivities(self, k: int) -> sparse.csr_matrix:
        """Fuzzy union of the first ``k`` neighbours."""
        return fuzzy_union(self.indices[:, :k], self.distances[:, :k])


def label_metrics(cells: Cells, resolutions: tuple[float, ...]) -> Metrics:
    """How well labels stay apart, on labelled cells only.

    Parameters
    ----------
    cells
        ``labels`` are codes from 0.
    resolutions
        Of Leiden; none: k-means.
    """
    labels = cells.labels
    agreement = _leiden_agreement(cells, resolutions) if resolutions else _kmeans_agreement(cells)
    n_labels = int(labels.max()) + 1
    lisi = _lisi(cells, labels)
    separation = _mean_silhouette(cells, [np.arange(len(labels))])
    return lambda weights: {
        **agreement(weights),
        "silhouette_label": separation(weights),
        "clisi": np.clip((n_labels - lisi(weights)) / (n_labels - 1), 0, 1),
        "graph_connectivity": graph_connectivity(cells.indices, labels, weights, _K_LEIDEN),
    }


def label_and_batch_metrics(cells: Cells) -> Metrics:
    """How batches compare inside labels, on labelled cells only; ``labels`` and ``batches`` are codes from 0."""
    labels, batches = cells.labels, cells.batches
    mixing = batch_mixing(cells.latent, labels, batches)
    isolated = _mean_silhouette(cells, _in_fewest_batches(labels, batches))
    tested = neighborhoods_by_label(cells.connectivities(_K_KBET), batches, labels)
    kbet = _redone(
        {"kbet": acceptance(tested)}, lambda weights: {"kbet": acceptance_in_resamples(tested, weights)}
    )
    return lambda weights: {
        "isolated_labels": isolated(weights),
        "bras": mixing.bras(weights),
        **kbet(weights),
    }


def batch_metrics(cells: Cells, before: np.ndarray) -> Metrics:
    """How well batches mix, on all cells; ``before`` is ``(n_cells, n_pcs)``, ``batches`` are codes from 0."""
    batches = cells.batches
    n_batches = int(batches.max()) + 1
    lisi = _lisi(cells, batches)
    return lambda weights: {
        "ilisi": np.clip((lisi(weights) - 1) / (n_batches - 1), 0, 1),
        "pcr_comparison": pcr_comparison(before, cells.latent, batches, weights),
    }


def _redone(stock: dict[str, float], redo: Metrics) -> Metrics:
    """Scores done anew in each resample; the one that holds every cell once is the sample, which has the stock's."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        anew = (weights != 1).any(axis=1)
        scores = {name: np.full(len(weights), value) for name, value in stock.items()}
        if anew.any():
            for name, values in redo(weights[anew]).items():
                scores[name][anew] = values
        return scores

    return measure


def _leiden_agreement(cells: Cells, resolutions: tuple[float, ...]) -> Metrics:
    graph = cells.connectivities(_K_LEIDEN)
    best = best_leiden(graph, cells.labels, resolutions)
    return _agreement(
        "leiden", best.clusters, cells.labels, leiden_clusterings(graph, resolutions, best.position)
    )


def _kmeans_agreement(cells: Cells) -> Metrics:
    from scib_metrics.utils import KMeans

    n_clusters = int(cells.labels.max()) + 1
    clusters = np.asarray(KMeans(n_clusters).fit(cells.latent).labels_)
    return _agreement("kmeans", clusters, cells.labels, kmeans_clusterings(cells.latent, n_clusters))


def _agreement(name: str, clusters: np.ndarray, labels: np.ndarray, clusterings: Clusterings) -> Metrics:
    table = contingency(labels, clusters, np.ones((1, len(labels))))
    stock = {
        f"{name}_nmi": float(normalised_mutual_information(table)[0]),
        f"{name}_ari": float(adjusted_rand_index(table)[0]),
    }
    return _redone(
        stock,
        lambda weights: dict(zip(stock, agreement_in_resamples(clusterings, labels, weights), strict=True)),
    )


def _lisi(cells: Cells, groups: np.ndarray) -> Metric:
    """Median effective number of groups; resampled neighbours move it to first order, their sets stay.

    A median moves as its middle cells do on average.
    """
    around = effective_groups(cells.neighbor_weights, cells.indices, groups)
    change = effective_groups_influence(cells.neighbor_weights, cells.indices, groups)
    lower, upper = np.nanquantile(around, _MIDDLE)
    middle = (around >= lower) & (around <= upper)
    influence = change.T @ (middle / middle.sum())
    return lambda weights: weighted_median(around, weights) + weights @ influence


def _mean_silhouette(cells: Cells, groups: list[np.ndarray]) -> Metric:
    """Mean over groups of their cells' silhouettes in [0, 1]; resampled cells move the others' to first order."""
    scaled = [(own, (cells.silhouettes.widths[own] + 1) / 2) for own in groups]
    shares = np.zeros((len(cells.labels), 1))
    for own in groups:
        shares[own] = 1 / (2 * len(own) * len(groups))
    influence = cells.silhouettes.influence(shares)[:, 0]
    return lambda weights: np.clip(mean_over_groups(scaled, weights) + weights @ influence, 0, 1)


def _in_fewest_batches(labels: np.ndarray, batches: np.ndarray) -> list[np.ndarray]:
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    n_batches = np.array([len(np.unique(batches[own])) for own in members])
    return [members[label] for label in np.flatnonzero(n_batches == n_batches.min())]
