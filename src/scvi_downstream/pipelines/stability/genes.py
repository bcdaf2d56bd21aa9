"""Top genes of each group in every fit, and those on which the fits agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.stability.fits import Row, SeedFit
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.statistics.bayesian_expression import compare_bayesian
from scvi_downstream.statistics.comparisons import Comparison

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


RBO_PERSISTENCE = 0.9
"""The first ten ranks carry 86 % of the weight."""


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

    Parameters
    ----------
    a, b
        Items without repetition, the best first; lengths may differ.
    p
        Persistence in (0, 1): the chance that a reader of rank ``d`` goes on to ``d + 1``.

    Returns
    -------
    0 for disjoint lists, 1 for equal ones; NaN where one list is empty.

    References
    ----------
    Webber, Moffat & Zobel (2010), doi:10.1145/1852102.1852106, equation 32.
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


MARKER_COLUMNS = (
    "draw",
    "group",
    "rank",
    "gene",
    "symbol",
    "score",
    "lfc_median",
    "proba_de",
    "n_candidates",
)
GENE_COLUMNS = (
    "group", "gene", "symbol", "n_fits_in_top", "n_fits", "mean_rank", "best_rank", "worst_rank", "lfc_mean", "lfc_sd",
)  # fmt: skip
N_DRAWS = 2


def top_genes(
    model: BaseModelClass,
    comparisons: list[Comparison],
    symbols: pd.Series,
    options: DeOptions,
    stability: StabilityOptions,
    seed: int,
) -> pd.DataFrame:
    """Genes that are higher in each group than in the rest, by the model's posterior, twice.

    The second list comes from other posterior draws of the same model: how far it agrees with the first says what is
    left of the lists' differences when the fit is the same.

    Parameters
    ----------
    model
        With its cells.
    comparisons
        Groups against the rest.
    symbols
        Gene → name to show.
    options
        Draws and delta of the test.
    stability
        Length of the lists, and how many of the group's cells must hold a count.
    seed
        Of the draws.

    Returns
    -------
    One row a set of draws, group and gene; ``score`` is the median log2 fold change times the probability of a
    change, by which genes rank, ``n_candidates`` the number of genes that could have been in the list.
    """
    changed = options.model_copy(update={"mode": "change"})
    lists = [
        _top(compare_bayesian(model, comparisons, changed, seed + draw), stability).assign(draw=draw)
        for draw in range(N_DRAWS)
    ]
    table = pd.concat(lists, ignore_index=True)
    return table.assign(symbol=symbols.reindex(table["gene"]).to_numpy())[list(MARKER_COLUMNS)]


def _top(table: pd.DataFrame, stability: StabilityOptions) -> pd.DataFrame:
    """Ranks by what the model says alone: anything of the counts would be the same in all fits and let them agree."""
    candidates = table[(table["fraction1"] >= stability.min_fraction) & (table["fraction1"] > 0)]
    scored = candidates.assign(
        group=candidates["group1"], score=candidates["lfc_median"] * candidates["proba_de"]
    )
    scored["n_candidates"] = scored.groupby("group")["gene"].transform("size")
    ranked = scored[scored["lfc_median"] > 0].sort_values("score", ascending=False, kind="stable")
    ranked["rank"] = ranked.groupby("group").cumcount() + 1
    return ranked[ranked["rank"] <= stability.top_genes].sort_values(["group", "rank"])


def gene_rows(fits: list[SeedFit], size: int) -> Iterator[Row]:
    """Jaccard index and rank-biased overlap of the lists of every pair of fits, and of one fit's two sets of draws.

    Parameters
    ----------
    fits
        With their lists.
    size
        Length of a full list.
    """
    lists = {(fit.name, draw): _lists(fit, draw) for fit in fits for draw in range(N_DRAWS)}
    candidates = {fit.name: fit.markers.groupby("group")["n_candidates"].first() for fit in fits}
    pairs = [((a.name, 0), (b.name, 0)) for a, b in combinations(fits, 2)]
    for one, other in [*pairs, *(((fit.name, 0), (fit.name, 1)) for fit in fits)]:
        for group in _groups(fits):
            first, second = lists[one].get(group, []), lists[other].get(group, [])
            n_candidates = int(candidates[one[0]].get(group, 0))
            chance = jaccard_by_chance(min(size, n_candidates), n_candidates)
            yield Row("gene_jaccard", one[0], other[0], group, jaccard(first, second), chance)
            yield Row("gene_rbo", one[0], other[0], group, rank_biased_overlap(first, second))


def consensus_genes(fits: list[SeedFit]) -> pd.DataFrame:
    """In how many fits each gene is among a group's top.

    Parameters
    ----------
    fits
        With their lists.

    Returns
    -------
    By group, the genes of most fits and best mean rank first; ranks and ``lfc_*`` (median log2 fold change, its mean
    and standard deviation) are those of the fits that have the gene among the top.
    """
    drawn = [fit.markers[fit.markers["draw"] == 0].assign(fit=fit.name) for fit in fits if len(fit.markers)]
    if not drawn:
        return pd.DataFrame(columns=list(GENE_COLUMNS))
    table = (
        pd.concat(drawn, ignore_index=True)
        .groupby(["group", "gene"], sort=False)
        .agg(
            symbol=("symbol", "first"),
            n_fits_in_top=("fit", "size"),
            mean_rank=("rank", "mean"),
            best_rank=("rank", "min"),
            worst_rank=("rank", "max"),
            lfc_mean=("lfc_median", "mean"),
            lfc_sd=("lfc_median", "std"),
        )
        .reset_index()
        .assign(n_fits=len(drawn))[list(GENE_COLUMNS)]
    )
    return table.sort_values(
        ["group", "n_fits_in_top", "mean_rank"],
        ascending=[True, False, True],
        kind="stable",
        ignore_index=True,
    )


def expected_in_all(size: int, n_candidates: int, n_fits: int) -> float:
    """How many genes unrelated lists would have in common."""
    return size * (size / n_candidates) ** (n_fits - 1) if n_candidates else float("nan")


def _groups(fits: list[SeedFit]) -> list[str]:
    names: Sequence[str] = pd.unique(pd.concat([fit.markers["group"] for fit in fits]).astype(str))
    return list(names)


def _lists(fit: SeedFit, draw: int) -> dict[str, list[str]]:
    drawn = fit.markers[fit.markers["draw"] == draw].sort_values("rank")
    return {str(group): table["gene"].tolist() for group, table in drawn.groupby("group", observed=True)}


def has_lists(fits: list[SeedFit]) -> bool:
    """Whether every fit has lists of genes."""
    return bool(fits) and all(len(fit.markers) for fit in fits)
