"""Agreement of the fits in clusters, neighbours and genes, and what it says together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import NeighborsGraph, by_falling_size, communities, weighted_graph
from scvi_downstream.pipelines.stability.fits import SCORE_COLUMNS, SeedFit, gather_fits, spread_of_scores
from scvi_downstream.pipelines.stability.genes import (
    GENE_COLUMNS,
    Row,
    consensus_genes,
    count_in_all,
    gene_rows,
    has_lists,
)
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.stability.report import describe, describe_failures

logger = logging.getLogger(__name__)
AGREEMENT_COLUMNS = ["measure", "fit_a", "fit_b", "group", "kind", "value", "chance"]
# Cells whose neighbours are looked up among all: their mean overlap is then known to some tenths of a percent.
MOST_QUERIES = 2000
# Cells whose distances to all others are held at once.
CHUNK = 128


def cluster_again(neighbors: NeighborsGraph, options: StabilityOptions, seed: int) -> pd.DataFrame:
    """Leiden clusters at one resolution, repeated with other seeds of Leiden.

    Parameters
    ----------
    neighbors
        Neighbours graph of one fit, ``n_cells`` cells.
    options
        Resolution and number of repetitions.
    seed
        Seed of the first repetition, the same for all fits.

    Returns
    -------
    ``n_cells`` × (``leiden``, ``leiden_2``, …).
    """
    graph = weighted_graph(neighbors.connectivities)
    found = {
        f"leiden_{i + 1}" if i else "leiden": by_falling_size(
            communities(graph, options.resolution, seed + i)
        )
        for i in range(options.leiden_runs)
    }
    return pd.DataFrame(found, index=neighbors.cells.rename("cell"))


def compare_seeds(
    spec: dict[str, Any], options: StabilityOptions, seed: int, **fits: Any
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Scores, clusters, genes and latents of fits that differ in nothing but the seed.

    Parameters
    ----------
    spec
        Entry of ``models:``, of which the name is used.
    options
        Neighbours and length of lists.
    seed
        Seed of the cells that are looked at.
    fits
        ``<name>__scores``, ``<name>__score_draws``, ``<name>__latent``, ``<name>__seed_clusters`` and perhaps
        ``<name>__seed_markers``, the study's own fit first.

    Returns
    -------
    Spread of scores (:func:`.fits.spread_of_scores`), agreement of pairs (:func:`_compare_fits`), genes by the
    number of fits that agree on them (:func:`.genes.consensus_genes`), and the summary: ``model``, ``n_fits``,
    ``fits``, ``failed``; ``agreement``: measure → mean over pairs of fits with interval, ``within`` (mean within
    fits) and ``chance``; ``genes``: group → ``in_all``, ``size``, ``by_chance``; ``clusters``: cluster → mean Jaccard
    index; ``scores``: metric → ``mean``, ``sd``, ``cell_sd``, ``least_difference``; ``sentences``.
    """
    found, failed = gather_fits(fits)
    model = spec["name"]
    summary = {"model": model, "n_fits": len(found), "fits": [fit.name for fit in found], "failed": failed}
    if len(found) < 2:
        n_fits = f"{len(found)} of {len(found) + len(failed)} fits are there"
        sentences = [f"Nothing can be said of seeds for {model}: {n_fits}.", *describe_failures(failed)]
        scores, agreement, genes = (
            pd.DataFrame(columns=columns) for columns in (SCORE_COLUMNS, AGREEMENT_COLUMNS, GENE_COLUMNS)
        )
    else:
        scores, agreement = spread_of_scores(found), _compare_fits(found, options, seed)
        genes = consensus_genes(found)
        by_measure = agreement.groupby("measure", sort=False)
        measures = {str(name): _summarize_measure(str(name), table) for name, table in by_measure}
        in_all = count_in_all(found, genes, options.top_genes)
        recurring = agreement[(agreement["measure"] == "cluster_jaccard") & (agreement["kind"] == "between")]
        recurrences = recurring.groupby("group", sort=False)["value"].mean()
        kept = ["mean", "sd", "cell_sd", "least_difference"]
        summary |= {
            "agreement": measures,
            "genes": in_all,
            "clusters": recurrences.to_dict(),
            "scores": scores.set_index("metric")[kept].to_dict(orient="index"),
        }
        sentences = describe(model, measures, scores, in_all, recurrences, failed)
    logger.info("%s", sentences[0])
    return scores, agreement, genes, summary | {"sentences": sentences}


def summarize_stability(**summaries: dict[str, Any]) -> dict[str, Any]:
    """The summaries of all models in one: ``<model>__seed_summary`` by model, and their sentences."""
    models, sentences = {}, []
    for summary in summaries.values():
        numbers = dict(summary)
        sentences += numbers.pop("sentences")
        models[str(numbers.pop("model"))] = numbers
    return {"models": models, "sentences": sentences}


def _compare_fits(fits: list[SeedFit], options: StabilityOptions, seed: int) -> pd.DataFrame:
    """Every agreement between two fits, and within one (Leiden again, other posterior draws).

    One row a measure, pair and group; ``kind`` is ``between`` or ``within`` fits.
    """
    rows = [
        *_clustering_rows(fits),
        *_recurrence_rows(fits),
        *_geometry_rows(fits, options.n_neighbors, seed),
        *(gene_rows(fits, options.top_genes) if has_lists(fits) else []),
    ]
    table = pd.DataFrame(rows)
    kind = np.where(table["fit_a"] == table["fit_b"], "within", "between")
    return table.assign(kind=kind)[AGREEMENT_COLUMNS]


def _clustering_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """ARI and NMI of every pair of fits, and of Leiden's own repetitions on one graph.

    Leiden's repetitions use the same seeds in every fit, so that two equal graphs agree at 1. Between fits the
    repetitions of one seed are compared, and averaged.

    Hubert & Arabie (1985), doi:10.1007/BF01908075; Vinh, Epps & Bailey (2010), JMLR 11:2837.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    cells = fits[0].clusters.index
    codes = {fit.name: fit.clusters.loc[cells].apply(lambda found: pd.factorize(found)[0]) for fit in fits}
    for measure, score in (("leiden_ari", adjusted_rand_score), ("leiden_nmi", normalized_mutual_info_score)):
        for a, b in combinations(codes, 2):
            agreements = [score(codes[a][repetition], codes[b][repetition]) for repetition in codes[a]]
            yield Row(measure, a, b, "", float(np.mean(agreements)))
        for name, repetitions in codes.items():
            pairs = combinations(repetitions, 2)
            agreements = [score(repetitions[one], repetitions[other]) for one, other in pairs]
            yield Row(measure, name, name, "", float(np.mean(agreements)))


def _recurrence_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """How far each cluster of the first fit comes back in each other fit, and in its own repetitions.

    Hennig (2007), doi:10.1016/j.csda.2006.11.025: below 0.6 a cluster is not to be trusted, from 0.75 on it is a
    valid pattern.
    """
    first = fits[0]
    reference, *repetitions = (first.clusters[column] for column in first.clusters)
    for fit in fits[1:]:
        other = fit.clusters.iloc[:, 0].loc[reference.index]
        for cluster, share in recurrence(reference, other).items():
            yield Row("cluster_jaccard", first.name, fit.name, str(cluster), share)
    own = pd.concat([recurrence(reference, repeated) for repeated in repetitions], axis=1).mean(axis=1)
    for cluster, share in own.items():
        yield Row("cluster_jaccard", first.name, first.name, str(cluster), float(share))


def recurrence(reference: pd.Series, other: pd.Series) -> pd.Series:
    """Jaccard index of each cluster with the most similar cluster of another clustering of the same cells.

    ``reference`` and ``other`` are of the same ``n_cells`` cells in the same order; cluster of ``reference`` → value
    in (0, 1].
    """
    shared = pd.crosstab(reference.to_numpy(), other.to_numpy())
    table = shared.to_numpy(dtype=np.float64)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return pd.Series((table / union).max(axis=1), index=shared.index.astype(str))


def _geometry_rows(fits: list[SeedFit], k: int, seed: int) -> Iterator[Row]:
    """Shared nearest neighbours and centred kernel alignment of every pair of latents.

    The ``seed`` chooses the cells whose ``k`` neighbours are looked at (at most 2,000, among all cells) and the
    permutation that gives the alignment by chance.
    """
    cells = fits[0].latent.index
    latents = {fit.name: fit.latent.loc[cells].to_numpy(dtype=np.float64) for fit in fits}
    random = np.random.default_rng(seed)
    queries = np.sort(random.choice(len(cells), min(len(cells), MOST_QUERIES), replace=False))
    shuffled = random.permutation(len(cells))
    k = min(k, len(cells) - 1)
    nearest = {name: nearest_cells(latent, queries, k) for name, latent in latents.items()}
    for a, b in combinations(latents, 2):
        overlap = shared_neighbors(nearest[a], nearest[b])
        yield Row("neighbor_overlap", a, b, "", overlap, k / (len(cells) - 1))
        by_chance = linear_cka(latents[a], latents[b][shuffled])
        yield Row("cka", a, b, "", linear_cka(latents[a], latents[b]), by_chance)


def nearest_cells(latent: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """``(n_queries, k)`` positions of the nearest cells, the cell itself left out, in no order.

    ``latent`` is ``(n_cells, n_dimensions)``, ``queries`` are positions of cells, ``k`` is less than ``n_cells``.
    """
    from scipy.spatial.distance import cdist

    found = np.empty((len(queries), k), dtype=np.intp)
    for start in range(0, len(queries), CHUNK):
        chosen = queries[start : start + CHUNK]
        distances = cdist(latent[chosen], latent)
        distances[np.arange(len(chosen)), chosen] = np.inf
        found[start : start + CHUNK] = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return found


def shared_neighbors(a: np.ndarray, b: np.ndarray) -> float:
    """Mean share of common neighbours of ``(n_queries, k)`` positions."""
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear centred kernel alignment: 1 for latents that differ by a rotation, a shift and one scale.

    ``a`` and ``b`` are ``(n_cells, n_dimensions)`` of the same cells; numbers of dimensions may differ. Kornblith et
    al. (2019), arXiv:1905.00414.
    """
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / size) if size > 0 else float("nan")


def mean_over_pairs(pairs: pd.DataFrame) -> dict[str, float]:
    """Mean of a quantity of pairs, with the jackknife over fits: pairs that share a fit are not independent.

    ``pairs`` holds ``fit_a``, ``fit_b`` and ``value`` of every pair. ``mean`` over all pairs; ``low`` and ``high``,
    the 95 % interval for pairs of seeds that were not tried, NaN with fewer than 3 fits; ``least`` and ``most`` of
    the pairs; ``n_fits``. Arvesen (1969), doi:10.1214/aoms/1177697287, for the jackknife of U-statistics.
    """
    from scipy import stats

    fits = pd.unique(pairs[["fit_a", "fit_b"]].to_numpy().ravel())
    values = pairs["value"].to_numpy(dtype=np.float64)
    mean, n = float(values.mean()), len(fits)
    low = high = float("nan")
    if n > 2:
        involved = [(pairs["fit_a"] == fit).to_numpy() | (pairs["fit_b"] == fit).to_numpy() for fit in fits]
        pseudo = np.array([n * mean - (n - 1) * values[~inside].mean() for inside in involved])
        reach = stats.t.ppf(0.975, n - 1) * pseudo.std(ddof=1) / np.sqrt(n)
        low, high = mean - reach, min(mean + reach, 1.0)
    ends = {"low": float(low), "high": float(high), "least": float(values.min()), "most": float(values.max())}
    return {"mean": mean, **ends, "n_fits": n}


def _summarize_measure(measure: str, table: pd.DataFrame) -> dict[str, float | None]:
    """Means of one measure, of groups first where it has groups."""
    between, within = (table[table["kind"] == kind] for kind in ("between", "within"))
    by_pair = between.groupby(["fit_a", "fit_b"], sort=False)[["value", "chance"]].mean().reset_index()
    repeated, chance = (
        float(values.mean()) if values.notna().any() else None
        for values in (within["value"], by_pair["chance"])
    )
    if measure == "cluster_jaccard":  # all pairs hold the first fit: they are no sample of pairs
        values = by_pair["value"]
        ends = {"mean": float(values.mean()), "least": float(values.min()), "most": float(values.max())}
        return {**ends, "within": repeated, "n_fits": len(by_pair) + 1}
    return {**mean_over_pairs(by_pair), "within": repeated, "chance": chance}
