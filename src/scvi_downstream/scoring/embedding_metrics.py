"""The scib-metrics of one embedding, as functions of how often each cell counts."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import NeighborsGraph, find_neighbors, fuzzy_union, weighted_graph
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.scoring.clusterings import (
    adjusted_rand_index,
    agreement_in_resamples,
    best_leiden,
    contingency,
    kmeans_clusterings,
    leiden_clusterings,
    normalised_mutual_information,
)
from scvi_downstream.scoring.criteria import BATCH_METRICS, BIO_METRICS, Profile
from scvi_downstream.scoring.kbet import acceptance, acceptance_in_resamples, neighborhoods_by_label
from scvi_downstream.scoring.mixing import (
    effective_groups,
    effective_groups_influence,
    graph_connectivity,
    neighbor_weights,
    pcr_comparison,
)
from scvi_downstream.scoring.resampling import (
    affordable_draws,
    cells_by_label,
    draw_weights,
    mean_over_groups,
    strata_of,
    stratified_sample,
    weighted_median,
    why_no_batches,
    why_no_labels,
    why_not_nested,
)
from scvi_downstream.scoring.silhouette import Silhouettes, against_nearest, batch_mixing, euclidean

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
    def silhouettes(self) -> dict[str, Metric]:
        """Mean silhouettes in [0, 1] of all cells, and of those in the labels that are in fewest batches."""
        groups = {
            "silhouette_label": [np.arange(len(self.labels))],
            "isolated_labels": _in_fewest_batches(self.labels, self.batches),
        }
        return _mean_silhouettes(against_nearest(euclidean(self.latent), self.labels), groups)

    @cached_property
    def neighbor_weights(self) -> np.ndarray:
        """``(n_cells, k)`` weights of the neighbours for LISI."""
        return neighbor_weights(self.indices, self.distances)

    def connectivities(self, k: int) -> sparse.csr_matrix:
        """Fuzzy union of the first ``k`` neighbours."""
        return fuzzy_union(self.indices[:, :k], self.distances[:, :k])


def label_metrics(cells: Cells, resolutions: tuple[float, ...]) -> Metrics:
    """How well labels stay apart, on labelled cells only.

    ``labels`` of the cells are codes from 0; without ``resolutions`` of Leiden they are clustered by k-means.
    """
    labels = cells.labels
    agreement = _agreement(cells, resolutions)
    n_labels = int(labels.max()) + 1
    lisi = _lisi(cells, labels)
    separation = cells.silhouettes["silhouette_label"]
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
    isolated = cells.silhouettes["isolated_labels"]
    tested = neighborhoods_by_label(cells.connectivities(_K_KBET), batches, labels)
    kbet = _redone(
        {"kbet": acceptance(tested)}, lambda weights: {"kbet": acceptance_in_resamples(tested, weights)}
    )
    return lambda weights: (
        {"isolated_labels": isolated(weights), "bras": mixing.bras(weights)} | kbet(weights)
    )


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


def _agreement(cells: Cells, resolutions: tuple[float, ...]) -> Metrics:
    """NMI and ARI of Leiden clusters, or without resolutions of k-means."""
    labels, name = cells.labels, "leiden" if resolutions else "kmeans"
    if resolutions:
        graph = weighted_graph(cells.connectivities(_K_LEIDEN))
        clusters, position = best_leiden(graph, labels, resolutions)
        again = leiden_clusterings(graph, resolutions, position)
    else:
        again = kmeans_clusterings(cells.latent, int(labels.max()) + 1)
        (clusters,) = again(np.ones(len(labels)))
    table = contingency(labels, clusters, np.ones((1, len(labels))))
    measured = normalised_mutual_information(table), adjusted_rand_index(table)
    stock = {f"{name}_{score}": float(of[0]) for score, of in zip(("nmi", "ari"), measured, strict=True)}
    return _redone(
        stock, lambda weights: dict(zip(stock, agreement_in_resamples(again, labels, weights), strict=True))
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


def _mean_silhouettes(silhouettes: Silhouettes, groups: dict[str, list[np.ndarray]]) -> dict[str, Metric]:
    """Means over groups of their cells' silhouettes in [0, 1]; resampled cells move the others' to first order."""
    shares = np.zeros((len(silhouettes.widths), len(groups)))
    for column, members in enumerate(groups.values()):
        for own in members:
            shares[own, column] = 1 / (2 * len(own) * len(members))
    influences = silhouettes.influence(shares).T

    def mean(members: list[np.ndarray], influence: np.ndarray) -> Metric:
        scaled = [(own, (silhouettes.widths[own] + 1) / 2) for own in members]
        return lambda weights: np.clip(mean_over_groups(scaled, weights) + weights @ influence, 0, 1)

    return {name: mean(groups[name], influence) for name, influence in zip(groups, influences, strict=True)}


def _in_fewest_batches(labels: np.ndarray, batches: np.ndarray) -> list[np.ndarray]:
    members = cells_by_label(labels)
    n_batches = np.array([len(np.unique(batches[own])) for own in members])
    return [members[label] for label in np.flatnonzero(n_batches == n_batches.min())]


_METRICS = (*BIO_METRICS, *BATCH_METRICS)
_FROM_ONE_RANDOM_START = ("kmeans_nmi", "kmeans_ari")
_WITHOUT_LABELS = ("ilisi", "pcr_comparison")
BIO_WEIGHT, BATCH_WEIGHT = 0.6, 0.4


def compute_metrics(
    latent: np.ndarray,
    graph: NeighborsGraph,
    before: np.ndarray,
    labels: pd.Series | None,
    batches: pd.Series | None,
    *,
    profile: Profile,
    n_draws: int,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """All metrics that the data allow, their aggregates, why the others are left out, and resamples of them.

    The same numbers as :class:`scib_metrics.benchmark.Benchmarker` on labelled cells. iLISI and PCR
    comparison need no labels and see all cells.

    The resamples are a bootstrap over the cells of each batch, see :func:`.resampling.draw_weights`. The embedding and
    the distances of cells stay: percentiles of the draws say how far a score depends on which cells were caught, not
    on the training. In each draw the cells are clustered and tested by kBET anew, and the graph's connectivity is that
    of the cells drawn; silhouettes and LISI of a cell follow the others' weights to first order. Draws are shifted to
    the score, except those of k-means (see ``_table_of_draws``). Draw `k` weights the cells of all embeddings alike, so
    that differences of two embeddings are paired.

    With single cells in the place of small communities (see ``clusterings.py``), on new samples of 600 cells from a
    simulated generator (``benchmarks/score_intervals.py``; 120 with batches shifted,
    100 with batches mixed) 90 % intervals held the expected score in 95 and 87 % of samples for bio conservation, 87
    and 93 % for batch correction and 92 and 90 % for the total, and single metrics' in 82 to 100 %. With k-means, whose
    one random start jumps between two optima, bio conservation's and the total's held it in all of 100. kBET does not
    know that a label's graph may fall apart in another sample, and in labels of some tens of cells its intervals are
    too narrow.

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
    profile
        Most cells, beyond which a sample stratified by label and batch with its own exact neighbours is scored, and
        the clusterings that NMI and ARI look at.
    n_draws
        Resamples of the cells; fewer of more than 3,000 cells, see :func:`.resampling.affordable_draws`.
    seed
        Of the sample and the resamples.

    Returns
    -------
    Metrics in [0, 1], ``scib_bio_conservation``, ``scib_batch_correction``, ``scib_total``,
    ``left_out`` (metric → reason), ``n_cells``, ``n_labelled_cells``, ``seconds``; and a row for each draw with a
    column ``scib_<metric>`` for each metric and aggregate.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8; Rautenstrauch & Ohler (2025),
    doi:10.1038/s41587-025-02743-4.
    """
    start = time.perf_counter()
    chosen = stratified_sample([labels, batches], len(latent), profile.max_cells, seed)
    columns = (("label", labels), ("batch", batches))
    names = {
        key: column.iloc[chosen].astype(str).to_numpy(dtype=object)
        for key, column in columns
        if column is not None
    }
    labelled = np.flatnonzero(names["label"] != UNKNOWN) if "label" in names else np.arange(len(chosen))
    no_labels, no_batches = why_no_labels(labels, chosen[labelled]), why_no_batches(batches, chosen)
    nested = no_labels or no_batches or why_not_nested(labels, batches, chosen[labelled])
    left_out = _left_out(no_labels, no_batches, nested, unused="kmeans" if profile.resolutions else "leiden")

    everyone = _cells(latent, graph, chosen, names, np.arange(len(chosen)))
    all_labelled = len(labelled) == len(chosen)
    measured: list[tuple[Metrics, np.ndarray | slice]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not no_labels:
            own = everyone if all_labelled else _cells(latent, graph, chosen, names, labelled)
            among = slice(None) if all_labelled else labelled
            measured.append((label_metrics(own, profile.resolutions), among))
            if not nested:
                measured.append((label_and_batch_metrics(own), among))
        if not no_batches:
            measured.append((batch_metrics(everyone, before[chosen]), slice(None)))

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for metrics, cells in measured:
            found |= metrics(weights[:, cells])
        return {name: found[name] for name in _METRICS if name in found}

    stock = {name: float(value[0]) for name, value in measure(np.ones((1, len(chosen)))).items()}
    scores = {name: value for name, value in stock.items() if np.isfinite(value)}
    left_out |= dict.fromkeys([name for name in stock if name not in scores], "undefined on these data")
    n_draws = affordable_draws(n_draws, len(chosen))
    resamples = draw_weights(everyone.batches, strata_of(everyone.labels, everyone.batches), n_draws, seed)
    draws = _table_of_draws([measure(weights) for weights in resamples], scores, n_draws)
    return {
        **scores,
        **aggregate(scores),
        "left_out": left_out,
        "n_cells": len(chosen),
        "n_labelled_cells": 0 if labels is None else len(labelled),
        "seconds": time.perf_counter() - start,
    }, draws


def aggregate[T: (float, pd.Series)](scores: Mapping[str, T]) -> dict[str, T]:
    """Means of the two groups and their total, 0.6 bio conservation + 0.4 batch correction.

    A group is the mean of the metrics that exist; graph connectivity alone does not make one, nor one group a
    total.

    ``scores`` holds a number, or a column of numbers, a metric.
    """
    bio = [scores[name] for name in BIO_METRICS if name in scores]
    batch = [scores[name] for name in BATCH_METRICS if name in scores]
    groups = {}
    if bio:
        groups["scib_bio_conservation"] = sum(bio) / len(bio)
    if any(name in scores for name in BATCH_METRICS if name != "graph_connectivity"):
        groups["scib_batch_correction"] = sum(batch) / len(batch)
    if len(groups) == 2:
        conserved, corrected = groups.values()
        groups["scib_total"] = BIO_WEIGHT * conserved + BATCH_WEIGHT * corrected
    return groups


def _left_out(
    no_labels: str | None, no_batches: str | None, nested: str | None, *, unused: str
) -> dict[str, str]:
    left_out = {name: nested for name in ("isolated_labels", "bras", "kbet") if nested}
    left_out |= {name: no_batches for name in _WITHOUT_LABELS if no_batches}
    if no_labels:
        needing = [name for name in _METRICS if name not in _WITHOUT_LABELS]
        left_out |= {name: no_labels for name in needing if not name.startswith(unused)}
    return left_out


def _cells(
    latent: np.ndarray,
    graph: NeighborsGraph,
    chosen: np.ndarray,
    names: dict[str, np.ndarray],
    kept: np.ndarray,
) -> Cells:
    indices, distances = _neighbors(latent, graph, chosen[kept])
    codes = {key: np.unique(column[kept], return_inverse=True)[1] for key, column in names.items()}
    return Cells(
        latent=np.ascontiguousarray(latent[chosen[kept]], dtype=np.float32),
        indices=indices,
        distances=distances,
        labels=codes.get("label", np.zeros(len(kept), dtype=int)),
        batches=codes.get("batch", np.zeros(len(kept), dtype=int)),
    )


def _neighbors(
    latent: np.ndarray, graph: NeighborsGraph, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The shared search when all cells are chosen, else an exact search of their own.

    Rows of a graph over other cells as well would hold neighbours that a metric has to ignore, and fewer the
    more of these there are: a subset is therefore searched anew.
    """
    k = min(N_NEIGHBORS, len(chosen))
    if len(chosen) == len(graph.cells) and graph.indices.shape[1] >= k:
        return graph.indices[:, :k], graph.distances[:, :k]
    return find_neighbors(latent[chosen], k, exact=True, seed=0)


def _table_of_draws(
    parts: list[dict[str, np.ndarray]], scores: dict[str, float], n_draws: int
) -> pd.DataFrame:
    """Draws about the scores: repeated cells shift most metrics by an amount that new samples are not shifted by.

    Not k-means, whose score jumps with its one random start: resamples tell where it lands on average, the score does
    not.
    """
    columns = {name: np.concatenate([np.empty(0), *(part[name] for part in parts)]) for name in scores}
    drawn = pd.DataFrame(columns, index=pd.RangeIndex(n_draws, name="draw"))
    shifted = [name for name in scores if name not in _FROM_ONE_RANDOM_START]
    about = {name: drawn[name] - drawn[name].mean() + scores[name] for name in shifted}
    table = drawn.assign(**about).clip(0, 1)
    names = {name: f"scib_{name}" for name in scores}
    return table.assign(**aggregate(dict(table.items()))).rename(columns=names)
