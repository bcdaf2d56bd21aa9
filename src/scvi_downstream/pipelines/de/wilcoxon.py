"""Wilcoxon rank sums of cells, many groups at a time."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.runtime.progress import Progress
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.correlation import sparse_ranks

WILCOXON_COLUMNS = ["grouping", "comparison", "gene", "lfc", "score", "p_value", "p_adjusted"]
# Stored values of the genes that are ranked at once: some 500 MB of working memory.
VALUES_PER_CHUNK = 20_000_000


def compare_wilcoxon(
    expression: sparse.csr_matrix, genes: pd.Index, comparisons: list[Comparison]
) -> pd.DataFrame:
    """Two-sided rank-sum test of every gene in every comparison.

    Scores, p-values and fold changes are those of scanpy's ``rank_genes_groups(method="wilcoxon",
    tie_correct=True)``: the normal approximation, corrected for ties and not for continuity.

    Parameters
    ----------
    expression, genes
        ``(n_cells, n_genes)`` log-normalised counts, non-negative; names of the ``n_genes`` genes.
    comparisons
        Pairs of groups; the masks are over ``n_cells`` cells.

    Returns
    -------
    One row a gene and comparison: ``lfc`` is log2 of the ratio of ``expm1`` of the groups'
    mean log-normalised counts, ``score`` the z statistic, ``p_adjusted`` Benjamini & Hochberg's over the
    genes of a comparison. Genes without a count in either group have p = 1.

    References
    ----------
    Mann & Whitney (1947), doi:10.1214/aoms/1177730491; Soneson & Robinson (2018), doi:10.1038/nmeth.4612.
    """
    if not comparisons:
        return pd.DataFrame(columns=WILCOXON_COLUMNS)
    by_gene = expression.tocsc()
    sharing = _group_by_cells(comparisons)
    chunks = _gene_chunks(by_gene.indptr)
    progress = Progress("Wilcoxon tests", len(sharing) * len(chunks))
    scores = np.zeros((len(comparisons), len(genes)))
    mean1, mean2 = np.zeros((2, len(comparisons), len(genes)))
    for start, stop in chunks:
        block = by_gene[:, start:stop]
        for cells, members in sharing:
            part = block if len(cells) == block.shape[0] else block[cells]
            first = np.array([comparisons[member].cells1[cells] for member in members], dtype=np.float64)
            scores[members, start:stop] = _rank_sum_scores(part, first)
            mean1[members, start:stop] = (first @ part) / first.sum(axis=1, keepdims=True)
            mean2[members, start:stop] = ((1 - first) @ part) / (1 - first).sum(axis=1, keepdims=True)
            progress.advance()
    rows = zip(comparisons, scores, mean1, mean2, strict=True)
    return pd.concat([_tabulate_wilcoxon(genes, *row) for row in rows], ignore_index=True)


def _rank_sum_scores(values: sparse.csc_matrix, first: np.ndarray) -> np.ndarray:
    """Z statistics ``(n_groups, n_genes)`` of the rank-sum test for each group of cells against the other cells.

    ``values`` are ``(n_cells, n_genes)`` and non-negative, ``first`` is ``(n_groups, n_cells)``, 1 for the cells
    of a group and 0 for the others. 0 where all values of a gene are equal.
    """
    above_zero, _, ties = sparse_ranks(values)
    n_cells = values.shape[0]
    zero_rank = (n_cells - np.diff(above_zero.indptr) + 1) / 2
    n1 = first.sum(axis=1, keepdims=True)
    n2 = n_cells - n1
    rank_sums = first @ above_zero + n1 * zero_rank
    spread = n1 * n2 / 12 * ((n_cells + 1) - ties / (n_cells * (n_cells - 1)))
    difference = rank_sums - n1 * (n_cells + 1) / 2
    scale, none = np.sqrt(np.maximum(spread, 0)), np.zeros_like(difference)
    return np.divide(difference, scale, out=none, where=spread > 1e-9)


def _group_by_cells(comparisons: list[Comparison]) -> list[tuple[np.ndarray, list[int]]]:
    """Positions of the cells that comparisons share, which one ranking serves, and of these comparisons."""
    members: dict[bytes, list[int]] = defaultdict(list)
    for position, comparison in enumerate(comparisons):
        members[(comparison.cells1 | comparison.cells2).tobytes()].append(position)
    return [(np.flatnonzero(np.frombuffer(mask, dtype=bool)), group) for mask, group in members.items()]


def _gene_chunks(indptr: np.ndarray) -> list[tuple[int, int]]:
    bounds = [0]
    while bounds[-1] < len(indptr) - 1:
        stop = int(np.searchsorted(indptr, indptr[bounds[-1]] + VALUES_PER_CHUNK, side="right")) - 1
        bounds.append(max(stop, bounds[-1] + 1))
    return list(pairwise(bounds))


def _tabulate_wilcoxon(
    genes: pd.Index, comparison: Comparison, scores: np.ndarray, mean1: np.ndarray, mean2: np.ndarray
) -> pd.DataFrame:
    from scipy import stats

    p_values = 2 * stats.norm.sf(np.abs(scores))
    columns = {
        "grouping": comparison.grouping,
        "comparison": comparison.name,
        "gene": np.asarray(genes),
        "lfc": np.log2((np.expm1(mean1) + 1e-9) / (np.expm1(mean2) + 1e-9)),
        "score": scores,
        "p_value": p_values,
        "p_adjusted": stats.false_discovery_control(p_values),
    }
    return pd.DataFrame(columns).iloc[np.argsort(-np.abs(scores), kind="stable")]
