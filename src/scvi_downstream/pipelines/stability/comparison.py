"""All that is compared between fits of one model, and its summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.stability.fits import Row, SeedFit
from scvi_downstream.pipelines.stability.genes import expected_in_all, gene_rows, has_lists
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.stability.report import describe, failures


def clustering_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """ARI and NMI of every pair of fits, and of Leiden's own repetitions on one graph.

    Leiden's repetitions use the same seeds in every fit, so that two equal graphs agree at 1. Between fits the
    repetitions of one seed are compared, and averaged.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Vinh, Epps & Bailey (2010), JMLR 11:2837.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    codes = {fit.name: _codes(fit.clusters.loc[fits[0].clusters.index]) for fit in fits}
    for measure, score in (("leiden_ari", adjusted_rand_score), ("leiden_nmi", normalized_mutual_info_score)):
        for a, b in combinations(codes, 2):
            agreements = [score(one, other) for one, other in zip(codes[a], codes[b], strict=True)]
            yield Row(measure, a, b, "", float(np.mean(agreements)))
        for name, repetitions in codes.items():
            agreements = [score(one, other) for one, other in combinations(repetitions, 2)]
            yield Row(measure, name, name, "", float(np.mean(agreements)))


def recurrence_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """How far each cluster of the first fit comes back in each other fit, and in its own repetitions.

    References
    ----------
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

    Parameters
    ----------
    reference, other
        Cluster of each of ``n_cells`` cells, in the same order.

    Returns
    -------
    Cluster of ``reference`` → value in (0, 1].
    """
    shared = pd.crosstab(reference.to_numpy(), other.to_numpy())
    table = shared.to_numpy(dtype=np.float64)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return pd.Series((table / union).max(axis=1), index=shared.index.astype(str))


def _codes(clusters: pd.DataFrame) -> list[np.ndarray]:
    return [pd.factorize(clusters[column])[0] for column in clusters]


MOST_QUERIES = 2000
CHUNK = 128


def geometry_rows(fits: list[SeedFit], k: int, seed: int) -> Iterator[Row]:
    """Shared nearest neighbours and centred kernel alignment of every pair of latents.

    Parameters
    ----------
    fits
        Of the same cells.
    k
        Neighbours of a cell, itself left out.
    seed
        Of the cells whose neighbours are looked at (at most 2,000, among all cells) and of the permutation that
        gives the alignment by chance.
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

    Parameters
    ----------
    latent
        ``(n_cells, n_dimensions)``.
    queries
        Positions of cells.
    k
        Less than ``n_cells``.
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

    Parameters
    ----------
    a, b
        ``(n_cells, n_dimensions)`` of the same cells; numbers of dimensions may differ.

    References
    ----------
    Kornblith et al. (2019), arXiv:1905.00414.
    """
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / size) if size > 0 else float("nan")


@dataclass(frozen=True)
class PairMean:
    """Mean over pairs of fits.

    Attributes
    ----------
    mean
        Over all pairs.
    low, high
        95 % interval for pairs of seeds that were not tried; NaN with fewer than 3 fits.
    least, most
        Of the pairs.
    n_fits
        Number of fits.
    """

    mean: float
    low: float
    high: float
    least: float
    most: float
    n_fits: int


def mean_over_pairs(pairs: pd.DataFrame) -> PairMean:
    """Mean of a quantity of pairs, with the jackknife over fits: pairs that share a fit are not independent.

    Parameters
    ----------
    pairs
        ``fit_a``, ``fit_b`` and ``value`` of every pair.

    References
    ----------
    Arvesen (1969), doi:10.1214/aoms/1177697287, for the jackknife of U-statistics.
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
    return PairMean(mean, float(low), float(high), float(values.min()), float(values.max()), n)


AGREEMENT_COLUMNS = ("measure", "fit_a", "fit_b", "group", "kind", "value", "chance")


def agreement_of_fits(fits: list[SeedFit], options: StabilityOptions, seed: int) -> pd.DataFrame:
    """Every agreement between two fits, and within one (Leiden again, other posterior draws).

    Returns
    -------
    One row a measure, pair and group; ``kind`` is ``between`` or ``within`` fits.
    """
    rows = [
        *clustering_rows(fits),
        *recurrence_rows(fits),
        *geometry_rows(fits, options.n_neighbors, seed),
        *(gene_rows(fits, options.top_genes) if has_lists(fits) else []),
    ]
    table = pd.DataFrame(rows, columns=list(Row._fields))
    kind = np.where(table["fit_a"] == table["fit_b"], "within", "between")
    return table.assign(kind=kind)[list(AGREEMENT_COLUMNS)]


def summary_of_fits(
    model: str,
    fits: list[SeedFit],
    failed: dict[str, str],
    scores: pd.DataFrame,
    agreement: pd.DataFrame,
    genes: pd.DataFrame,
    size: int,
) -> dict[str, Any]:
    """Means with intervals, and sentences.

    Parameters
    ----------
    model
        Name of the model.
    fits, failed
        Fits, and why others are missing.
    scores, agreement, genes
        Tables of what is compared.
    size
        Length of a full list of genes.

    Returns
    -------
    ``model``, ``n_fits``, ``fits``, ``failed``; ``agreement``: measure → mean over pairs of fits with interval,
    ``within`` (mean within fits) and ``chance``; ``genes``: group → ``in_all``, ``size``, ``by_chance``;
    ``clusters``: cluster → mean Jaccard index; ``scores``: metric → ``mean``, ``sd``, ``cell_sd``,
    ``least_difference``; ``sentences``.
    """
    record = {"model": model, "n_fits": len(fits), "fits": [fit.name for fit in fits], "failed": failed}
    if len(fits) < 2:
        alone = f"Nothing can be said of seeds for {model}: {len(fits)} of {len(fits) + len(failed)} fits are there."
        return record | {"sentences": [alone, *failures(failed)]}
    measures = {str(name): _measure(table) for name, table in agreement.groupby("measure", sort=False)}
    in_all = _in_all(fits, genes, agreement, size)
    recurring = agreement[(agreement["measure"] == "cluster_jaccard") & (agreement["kind"] == "between")]
    recurrence = recurring.groupby("group", sort=False)["value"].mean()
    kept = ["mean", "sd", "cell_sd", "least_difference"]
    return record | {
        "agreement": measures,
        "genes": in_all,
        "clusters": recurrence.to_dict(),
        "scores": scores.set_index("metric")[kept].to_dict(orient="index"),
        "sentences": describe(model, measures, scores, in_all, recurrence, failed),
    }


def _measure(table: pd.DataFrame) -> dict[str, Any]:
    """Means of one measure, of groups first where it has groups."""
    between, within = (table[table["kind"] == kind] for kind in ("between", "within"))
    by_pair = between.groupby(["fit_a", "fit_b"], sort=False)[["value", "chance"]].mean().reset_index()
    if (
        table["measure"] == "cluster_jaccard"
    ).all():  # all pairs hold the first fit: they are no sample of pairs
        return {
            "mean": float(by_pair["value"].mean()),
            "least": float(by_pair["value"].min()),
            "most": float(by_pair["value"].max()),
            "within": _mean(within["value"]),
            "n_fits": len(by_pair) + 1,
        }
    return dataclasses.asdict(mean_over_pairs(by_pair)) | {
        "within": _mean(within["value"]),
        "chance": _mean(by_pair["chance"]),
    }


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if values.notna().any() else None


def _in_all(
    fits: list[SeedFit], genes: pd.DataFrame, agreement: pd.DataFrame, size: int
) -> dict[str, dict[str, Any]]:
    """Of each group, how many genes are in the lists of all fits, and how many would be by chance."""
    if not has_lists(fits):
        return {}
    first = fits[0].markers
    lengths = first[first["draw"] == 0].groupby("group")["gene"].size()
    candidates = first.groupby("group")["n_candidates"].first()
    in_all = genes[genes["n_fits_in_top"] == genes["n_fits"]].groupby("group").size()
    return {
        str(group): {
            "in_all": int(in_all.get(group, 0)),
            "size": int(length),
            "by_chance": expected_in_all(min(size, int(length)), int(candidates[group]), len(fits)),
        }
        for group, length in lengths.items()
    }
