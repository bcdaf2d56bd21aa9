"""The classical tests beside the Bayesian one: Wilcoxon rank sums of cells, and DESeq2 on sums by sample."""

from __future__ import annotations

import logging
import time
import warnings
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.progress import Progress, duration
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.correlation import sparse_ranks

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
WILCOXON_COLUMNS = ["grouping", "comparison", "gene", "lfc", "score", "p_value", "p_adjusted"]
PSEUDOBULK_COLUMNS = [
    "grouping", "comparison", "gene", "lfc", "lfc_se", "statistic", "p_value", "p_adjusted",
    "n_samples1", "n_samples2",
]  # fmt: skip
# Stored values of the genes that are ranked at once: some 500 MB of working memory.
VALUES_PER_CHUNK = 20_000_000
# A gene with fewer counts in a sum tells nothing of that sample.
MIN_COUNTS_PER_GENE = 10


def compare_wilcoxon(
    expression: sparse.csr_matrix, genes: pd.Index, comparisons: list[Comparison]
) -> pd.DataFrame:
    """Two-sided rank-sum test of every gene in every comparison.

    Scores, p-values and fold changes are those of scanpy's ``rank_genes_groups(method="wilcoxon",
    tie_correct=True)``: the normal approximation, corrected for ties and not for continuity.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised counts, non-negative.
    genes
        Names of the ``n_genes`` genes.
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
    return np.divide(
        difference, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(difference), where=spread > 1e-9
    )


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
    table = pd.DataFrame(
        {
            "grouping": comparison.grouping,
            "comparison": comparison.name,
            "gene": np.asarray(genes),
            "lfc": np.log2((np.expm1(mean1) + 1e-9) / (np.expm1(mean2) + 1e-9)),
            "score": scores,
            "p_value": p_values,
            "p_adjusted": stats.false_discovery_control(p_values),
        }
    )
    return table.iloc[np.argsort(-np.abs(scores), kind="stable")]


def compare_pseudobulk(
    counts: AnnData, sample_key: str, comparisons: list[Comparison], options: DeOptions
) -> pd.DataFrame:
    """Wald tests of the groups' effect on counts summed by sample and group.

    Samples with cells in both groups enter as pairs (design ``~ sample + group``), otherwise samples of one
    group are compared with samples of the other (``~ group``). A sum is used when it has
    ``min_cells_per_sample`` cells, a gene when it has 10 counts in as many sums as the smaller group has
    samples.

    Parameters
    ----------
    counts
        Raw counts of all genes.
    sample_key
        obs column that names the sample (donor, library) of each cell.
    comparisons
        Pairs of groups.
    options
        Smallest numbers of samples a group and cells a sample.

    Returns
    -------
    One row a gene tested and comparison: ``lfc`` (log2) and its standard error, Wald
    ``statistic``, p-value (missing for a gene with a count outlier by Cook's distance) and Benjamini &
    Hochberg's adjusted one, numbers of samples.

    References
    ----------
    Love, Huber & Anders (2014), doi:10.1186/s13059-014-0550-8; Muzellec et al. (2023),
    doi:10.1093/bioinformatics/btad547; Squair et al. (2021), doi:10.1038/s41467-021-25960-2.
    """
    samples = counts.obs[sample_key].astype("category")
    enough, too_few = [], []
    for comparison in comparisons:
        design = pair_samples(comparison, samples, options)
        if _smaller_group(design) >= options.min_samples_per_group:
            enough.append((comparison, design))
        else:
            too_few.append(comparison.name)
    if too_few:
        logger.info(
            "no pseudobulk test, a group having fewer than %d samples of %d cells: %s",
            options.min_samples_per_group,
            options.min_cells_per_sample,
            ", ".join(too_few),
        )
    progress = Progress("pseudobulk tests", len(enough))
    tables = []
    start = time.perf_counter()
    for comparison, design in enough:
        tables.append(_test_comparison(counts, comparison, samples, design))
        if len(tables) == 1:
            seconds = (time.perf_counter() - start) * len(enough)
            logger.info("pseudobulk tests: %d comparisons, about %s", len(enough), duration(seconds))
        progress.advance()
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PSEUDOBULK_COLUMNS)


def pair_samples(comparison: Comparison, samples: pd.Series, options: DeOptions) -> pd.DataFrame:
    """The sums to test: one row a sample and group, columns ``sample`` and ``group`` (``first``, ``second``).

    If enough samples have cells in both groups only they are used, as pairs; otherwise those in one group
    only, for a sample on both sides would count as two independent ones.
    """
    names, codes = samples.cat.categories.astype(str), samples.cat.codes.to_numpy()
    sides = {"first": comparison.cells1, "second": comparison.cells2}
    n_cells = {group: np.bincount(codes[cells], minlength=len(names)) for group, cells in sides.items()}
    usable = pd.DataFrame(n_cells, index=names) >= options.min_cells_per_sample
    both = usable.all(axis=1)
    used = both if both.sum() >= options.min_samples_per_group else usable.sum(axis=1) == 1
    stacked = usable[used].stack()
    rows = stacked.index[stacked.to_numpy()]
    return pd.DataFrame({"sample": rows.get_level_values(0), "group": rows.get_level_values(1)})


def fit_deseq2(sums: np.ndarray, genes: pd.Index, design: pd.DataFrame) -> pd.DataFrame:
    """DESeq2's Wald test of ``first`` against ``second``: genes × (lfc, lfc_se, statistic, p_value, p_adjusted).

    ``sums`` are ``(n_sums, n_genes)`` integer counts; ``design`` has a row a sum with ``sample`` and ``group``;
    samples that come twice make it paired.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats

        names = pd.Index([f"sum{i}" for i in range(len(design))])
        # Names of samples that DESeq2's formula can hold.
        sample = pd.Categorical("s" + pd.Series(design["sample"].factorize()[0]).astype(str))
        group = pd.Categorical(design["group"], categories=["second", "first"])
        inference = DefaultInference(n_cpus=1)
        fit = DeseqDataSet(
            counts=pd.DataFrame(sums, index=names, columns=genes),
            metadata=pd.DataFrame({"sample": sample, "group": group}, index=names),
            design="~ sample + group" if design["sample"].duplicated().any() else "~ group",
            # Ratios need a gene that is counted in every sum; shallow data may have none.
            size_factors_fit_type="ratio" if (sums > 0).all(axis=0).sum() >= 10 else "poscounts",
            inference=inference,
            quiet=True,
        )
        fit.deseq2()
        contrast = ["group", "first", "second"]
        test = DeseqStats(fit, contrast=contrast, inference=inference, independent_filter=False, quiet=True)
        test.summary()
    results = test.results_df[["log2FoldChange", "lfcSE", "stat", "pvalue", "padj"]]
    return results.set_axis(["lfc", "lfc_se", "statistic", "p_value", "p_adjusted"], axis=1)


def _smaller_group(design: pd.DataFrame) -> int:
    return int(min((design["group"] == group).sum() for group in ("first", "second")))


def _test_comparison(
    counts: AnnData, comparison: Comparison, samples: pd.Series, design: pd.DataFrame
) -> pd.DataFrame:
    of_cell = samples.astype(str).to_numpy()
    side = {"first": comparison.cells1, "second": comparison.cells2}
    indicator = sparse.csr_matrix(
        np.array([side[row.group] & (of_cell == row.sample) for row in design.itertuples()]), dtype=np.float64
    )
    sums = np.rint((indicator @ counts.X).toarray()).astype(np.int64)
    counted = (sums >= MIN_COUNTS_PER_GENE).sum(axis=0) >= _smaller_group(design)
    if counted.sum() < 2:
        logger.info("no pseudobulk test of %s: %d genes have counts enough", comparison.name, counted.sum())
        return pd.DataFrame(columns=PSEUDOBULK_COLUMNS)
    table = fit_deseq2(sums[:, counted], counts.var_names[counted], design).rename_axis("gene").reset_index()
    table["grouping"], table["comparison"] = comparison.grouping, comparison.name
    table["n_samples1"] = int((design["group"] == "first").sum())
    table["n_samples2"] = int((design["group"] == "second").sum())
    return table.sort_values("p_value", kind="stable")[PSEUDOBULK_COLUMNS]
