"""Top genes of each group in every fit, and those on which the fits agree."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.stability.fits import SeedFit
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.bayesian_expression import compare_bayesian
from scvi_downstream.statistics.comparisons import keep_large, one_vs_rest

logger = logging.getLogger(__name__)
MARKER_COLUMNS = [
    "draw", "group", "rank", "gene", "symbol", "score", "lfc_median", "proba_de", "n_candidates",
]  # fmt: skip
GENE_COLUMNS = [
    "group", "gene", "symbol", "n_fits_in_top", "n_fits", "mean_rank", "best_rank", "worst_rank", "lfc_mean", "lfc_sd",
]  # fmt: skip
# Sets of posterior draws of one fit: the least that can be compared.
N_DRAWS = 2
RBO_PERSISTENCE = 0.9
"""The first ten ranks carry 86 % of the weight."""


class Row(NamedTuple):
    """How far two fits agree.

    Attributes
    ----------
    measure
        ``leiden_ari``, ``leiden_nmi``, ``cluster_jaccard``, ``neighbor_overlap``, ``cka``, ``gene_jaccard`` or
        ``gene_rbo``.
    fit_a, fit_b
        Names of the fits; the same where a fit is compared with a repetition of what follows it: Leiden with other
        seeds, or other posterior draws.
    group
        Cluster, or group of cells; empty where there is none.
    value
        0 (or what chance gives) to 1.
    chance
        What two unrelated fits would give; NaN where it is 0 or not known.
    """

    measure: str
    fit_a: str
    fit_b: str
    group: str
    value: float
    chance: float = float("nan")


def rank_genes_of_labels(
    fitted: SavedModel,
    counts: AnnData,
    keys: Keys,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """Top genes of each label; see :func:`rank_genes`.

    Raises
    ------
    InputError
        Without labels.
    """
    if not keys.label_key:
        raise InputError("genes of labels need label_key, which is empty; compare those of clusters")
    return rank_genes(fitted, counts, counts.obs[keys.label_key], de, options, seed, accelerator)


def rank_genes_of_clusters(
    fitted: SavedModel,
    counts: AnnData,
    reference_clusters: pd.DataFrame,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """Top genes of each cluster of the study's own fit, the groups of all fits; see :func:`rank_genes`."""
    clusters = reference_clusters["leiden"].loc[counts.obs_names]
    return rank_genes(fitted, counts, clusters, de, options, seed, accelerator)


def rank_genes(
    fitted: SavedModel,
    counts: AnnData,
    groups: pd.Series,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """Genes that are higher in each group than in the rest, by the model's posterior, twice.

    The second list comes from other posterior draws of the same model: how far it agrees with the first says what is
    left of the lists' differences when the fit is the same.

    Parameters
    ----------
    fitted
        Model that was fitted with one seed.
    counts
        What it was fitted on.
    groups
        Group of each cell.
    de
        Draws and delta of the test, and the smallest group to compare.
    options
        Length of the lists, and how many of the group's cells must hold a count.
    seed
        Seed of the draws.
    accelerator
        Where to compute.

    Returns
    -------
    One row a set of draws, group and gene; ``score`` is the median log2 fold change times the probability of a
    change, by which genes rank, ``n_candidates`` the number of genes that could have been in the list.
    """
    comparisons, left_out = keep_large(list(one_vs_rest("groups", groups)), de.min_cells_per_group)
    if left_out:
        named = de.min_cells_per_group, ", ".join(comparison.group1 for comparison in left_out)
        logger.info("genes of groups with fewer than %d cells are not compared: %s", *named)
    model, test = fitted.attach(counts, accelerator), replace(de.bayesian, mode="change")
    lists = [
        _rank_top(compare_bayesian(model, comparisons, test, seed + draw), options).assign(draw=draw)
        for draw in range(N_DRAWS)
    ]
    table = pd.concat(lists, ignore_index=True)
    symbols = symbols_of(counts.var).reindex(table["gene"])
    return table.assign(symbol=symbols.to_numpy())[MARKER_COLUMNS]


def _rank_top(table: pd.DataFrame, options: StabilityOptions) -> pd.DataFrame:
    """Ranks by what the model says alone: anything of the counts would be the same in all fits and let them agree."""
    candidates = table[(table["fraction1"] >= options.min_fraction) & (table["fraction1"] > 0)]
    score = candidates["lfc_median"] * candidates["proba_de"]
    scored = candidates.assign(group=candidates["group1"], score=score)
    scored["n_candidates"] = scored.groupby("group")["gene"].transform("size")
    ranked = scored[scored["lfc_median"] > 0].sort_values("score", ascending=False, kind="stable")
    ranked["rank"] = ranked.groupby("group").cumcount() + 1
    return ranked[ranked["rank"] <= options.top_genes].sort_values(["group", "rank"])


def consensus_genes(fits: list[SeedFit]) -> pd.DataFrame:
    """In how many fits each gene is among a group's top.

    By group, the genes of most fits and best mean rank first; ranks and ``lfc_*`` (median log2 fold change, its mean
    and standard deviation) are those of the fits that have the gene among the top.
    """
    drawn = [fit.markers[fit.markers["draw"] == 0] for fit in fits if len(fit.markers)]
    if not drawn:
        return pd.DataFrame(columns=GENE_COLUMNS)
    by_gene = pd.concat(drawn, ignore_index=True).groupby(["group", "gene"], sort=False)
    table = by_gene.agg(
        symbol=("symbol", "first"),
        n_fits_in_top=("rank", "size"),
        mean_rank=("rank", "mean"),
        best_rank=("rank", "min"),
        worst_rank=("rank", "max"),
        lfc_mean=("lfc_median", "mean"),
        lfc_sd=("lfc_median", "std"),
    )
    table = table.reset_index().assign(n_fits=len(drawn))[GENE_COLUMNS]
    order = ["group", "n_fits_in_top", "mean_rank"]
    return table.sort_values(order, ascending=[True, False, True], kind="stable", ignore_index=True)


def count_in_all(fits: list[SeedFit], genes: pd.DataFrame, size: int) -> dict[str, dict[str, Any]]:
    """Of each group, how many genes are in the lists of all fits, and how many would be by chance.

    Without lists there are no groups. ``genes`` is of :func:`consensus_genes`, ``size`` the length of a full list.
    """
    if not has_lists(fits):
        return {}
    markers = fits[0].markers
    lengths = markers[markers["draw"] == 0].groupby("group")["gene"].size()
    candidates = markers.groupby("group")["n_candidates"].first()
    in_all = genes[genes["n_fits_in_top"] == genes["n_fits"]].groupby("group").size()
    return {
        str(group): {
            "in_all": int(in_all.get(group, 0)),
            "size": int(length),
            "by_chance": _in_all_by_chance(min(size, int(length)), int(candidates[group]), len(fits)),
        }
        for group, length in lengths.items()
    }


def _in_all_by_chance(size: int, n_candidates: int, n_fits: int) -> float:
    """How many genes unrelated lists would have in common."""
    return size * (size / n_candidates) ** (n_fits - 1) if n_candidates else float("nan")


def gene_rows(fits: list[SeedFit], size: int) -> Iterator[Row]:
    """Jaccard index and rank-biased overlap of the lists of every pair of fits, and of one fit's two sets of draws.

    ``size`` is the length of a full list.
    """
    lists = {(fit.name, draw): _list_genes(fit, draw) for fit in fits for draw in range(N_DRAWS)}
    candidates = {fit.name: fit.markers.groupby("group")["n_candidates"].first() for fit in fits}
    groups = pd.concat([fit.markers["group"] for fit in fits]).astype(str).unique()
    pairs = [(a.name, b.name, 0) for a, b in combinations(fits, 2)]
    for name, other, draw in [*pairs, *((fit.name, fit.name, 1) for fit in fits)]:
        for group in groups:
            first, second = lists[name, 0].get(group, []), lists[other, draw].get(group, [])
            n_candidates = int(candidates[name].get(group, 0))
            chance = jaccard_by_chance(min(size, n_candidates), n_candidates)
            yield Row("gene_jaccard", name, other, group, jaccard(first, second), chance)
            yield Row("gene_rbo", name, other, group, rank_biased_overlap(first, second))


def _list_genes(fit: SeedFit, draw: int) -> dict[str, list[str]]:
    drawn = fit.markers[fit.markers["draw"] == draw].sort_values("rank")
    return {str(group): table["gene"].tolist() for group, table in drawn.groupby("group", observed=True)}


def has_lists(fits: list[SeedFit]) -> bool:
    """Whether every fit has lists of genes."""
    return all(len(fit.markers) for fit in fits)


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    """Shared items among all items of two lists; 1 where both are empty."""
    either = len({*a, *b})
    return len({*a} & {*b}) / either if either else 1.0


def jaccard_by_chance(size: int, n_candidates: int) -> float:
    """Jaccard index of two unrelated choices of ``size`` of ``n_candidates``, at their expected overlap."""
    if n_candidates == 0 or size == 0:
        return float("nan")
    shared = size**2 / n_candidates
    return shared / (2 * size - shared)


def rank_biased_overlap(a: Sequence[str], b: Sequence[str], p: float = RBO_PERSISTENCE) -> float:
    """Agreement of two ranked lists that counts the top most, extrapolated beyond their ends.

    ``a`` and ``b`` are without repetition, the best first, of any lengths; ``p`` in (0, 1) is the persistence: the
    chance that a reader of rank ``d`` goes on to ``d + 1``. 0 for disjoint lists, 1 for equal ones; NaN where one is
    empty. Webber, Moffat & Zobel (2010), doi:10.1145/1852102.1852106, equation 32.
    """
    short, long = sorted((list(a), list(b)), key=len)
    s, n = len(short), len(long)
    if s == 0:
        return float("nan")
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    overlap_at_s = overlap = 0
    total = 0.0
    for depth in range(1, n + 1):
        item = long[depth - 1]
        seen_long.add(item)
        overlap += item in seen_short
        if depth <= s:
            other = short[depth - 1]
            seen_short.add(other)
            overlap += other in seen_long
            overlap_at_s = overlap
        beyond = overlap_at_s * (depth - s) / (s * depth) if depth > s else 0.0
        total += (overlap / depth + beyond) * p**depth
    return (1 - p) / p * total + ((overlap - overlap_at_s) / n + overlap_at_s / s) * p**n
