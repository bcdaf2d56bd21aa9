"""Differential expression of one fitted model's groups, and the classical tests beside it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.de import pseudobulk, wilcoxon
from scvi_downstream.pipelines.de.groups import find_comparisons, log_left_out
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.statistics import bayesian_expression
from scvi_downstream.statistics.comparisons import keep_large

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel

logger = logging.getLogger(__name__)


CLASSICAL = ("wilcoxon", "pseudobulk")
MEASURES = ("spearman_lfc", "top_overlap", "jaccard", "confirmed")
COLUMNS = (
    "grouping", "comparison", "n_genes", "n_bayesian", "n_wilcoxon", "n_pseudobulk",
    *(f"{measure}_{test}" for test in CLASSICAL for measure in MEASURES),
)  # fmt: skip


def concordance(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Agreement of the Bayesian test with the classical ones, one row a comparison.

    Parameters
    ----------
    de_results
        The three tests joined.
    options
        FDR of a call and number of top genes.

    Returns
    -------
    ``n_*``: modelled genes, and those that each test calls at the FDR. For Wilcoxon and for
    pseudobulk, over the genes that both tests have: ``spearman_lfc`` of the fold changes; ``top_overlap``,
    the share of the Bayesian top genes that are also among the classical test's (of at most a quarter of the
    genes, as the overlap of two full lists is always 1); ``jaccard`` of the calls; ``confirmed``, the share
    of Bayesian calls that the classical test also makes, with the same sign. NaN where a test is missing or
    has no calls to compare.
    """
    rows = [
        {"grouping": grouping, "comparison": comparison, **_row(table, options)}
        for (grouping, comparison), table in de_results.groupby(
            ["grouping", "comparison"], sort=False, observed=True
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(table: pd.DataFrame, options: DeOptions) -> dict[str, Any]:
    row: dict[str, Any] = {"n_genes": len(table), "n_bayesian": int(table["is_de"].sum())}
    for test in CLASSICAL:
        both = table[table[f"{test}_p"].notna()]
        called = both[f"{test}_p_adjusted"] <= options.fdr
        row[f"n_{test}"] = int(called.sum()) if len(both) else np.nan
        row |= {
            f"{measure}_{test}": value for measure, value in _agreement(both, test, called, options).items()
        }
    return row


def _agreement(both: pd.DataFrame, test: str, called: pd.Series, options: DeOptions) -> dict[str, float]:
    if len(both) < 3:
        return {}
    bayesian = both["is_de"].astype(bool)
    same_sign = np.sign(both[f"{test}_lfc"]) == np.sign(both["lfc_median"])
    n_either = (bayesian | called).sum()
    n_top = min(options.top_genes, max(len(both) // 4, 1))
    probable = both.assign(size=both["lfc_median"].abs()).sort_values(
        ["proba_de", "size"], ascending=False, kind="stable"
    )
    significant = both.assign(size=both[f"{test}_lfc"].abs()).sort_values(
        [f"{test}_p", "size"], ascending=[True, False], kind="stable"
    )
    overlap = set(probable["gene"].head(n_top)) & set(significant["gene"].head(n_top))
    return {
        "spearman_lfc": both["lfc_median"].corr(both[f"{test}_lfc"], method="spearman"),
        "top_overlap": len(overlap) / n_top,
        "jaccard": (bayesian & called).sum() / n_either if n_either else np.nan,
        "confirmed": (bayesian & called & same_sign).sum() / bayesian.sum() if bayesian.any() else np.nan,
    }


MARKER_COLUMNS = (
    "grouping", "group", "rank", "gene", "score", "lfc_median", "proba_de", "expected_fdr",
    "fraction1", "fraction2", "specificity", "mean1", "mean2", "wilcoxon_p_adjusted", "called_by",
)  # fmt: skip


def rank_markers(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Genes that are higher in a group than in the rest, and seen in more of its cells.

    A marker has a median log2 fold change of ``min_lfc``, a count in ``min_fraction`` of the group's cells,
    in ``min_fraction_difference`` more of them than of the rest, and passes ``fdr``, the Bayesian expected
    one or Wilcoxon's. (A cell of the group and a cell of a mixed rest often share a true marker, so that the
    Bayesian test alone leaves groups that have sisters without markers.) Bayesian calls rank first; within
    them and within the others the score ranks: proba_de x log2 fold change x specificity, where specificity
    is fraction1 - fraction2.

    Parameters
    ----------
    de_results
        The tests joined; only comparisons of clusters and labels with the rest are used.
    options
        Thresholds and number of markers a group.

    Returns
    -------
    One row a marker, by grouping, group and rank (1 is best); ``called_by`` is ``both``, ``bayesian`` or
    ``wilcoxon``.
    """
    limits = options.markers
    groups = de_results[de_results["grouping"].isin(["clusters", "labels"])]
    bayesian = groups["expected_fdr"] <= limits.fdr
    wilcoxon = groups["wilcoxon_p_adjusted"] <= limits.fdr
    specificity = groups["fraction1"] - groups["fraction2"]
    effect = (
        (groups["lfc_median"] >= limits.min_lfc)
        & (groups["fraction1"] >= limits.min_fraction)
        & (specificity >= limits.min_fraction_difference)
    )
    candidates = groups.assign(
        group=groups["group1"],
        specificity=specificity,
        score=groups["proba_de"] * groups["lfc_median"] * specificity,
        called_by=np.select([bayesian & wilcoxon, bayesian], ["both", "bayesian"], "wilcoxon"),
        by_wilcoxon_alone=~bayesian,
        position=groups.groupby(["grouping", "group1"], sort=False, observed=True).ngroup(),
    )
    ranked = candidates[effect & (bayesian | wilcoxon)].sort_values(
        ["position", "by_wilcoxon_alone", "score"], ascending=[True, True, False], kind="stable"
    )
    ranked["rank"] = ranked.groupby("position").cumcount() + 1
    return ranked.loc[ranked["rank"] <= limits.max_per_group, list(MARKER_COLUMNS)].reset_index(drop=True)


KEY = ["grouping", "comparison", "gene"]


def join_tests(bayesian: pd.DataFrame, wilcoxon: pd.DataFrame, pseudobulk: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns of the Bayesian test with those of the classical tests beside them.

    Parameters
    ----------
    bayesian, wilcoxon, pseudobulk
        Tables of the tests, unique by grouping, comparison and gene.

    Returns
    -------
    ``bayesian`` with ``wilcoxon_lfc``, ``wilcoxon_p``, ``wilcoxon_p_adjusted`` and the same
    of ``pseudobulk``, NaN where a test has no such gene or comparison. Adjusted p-values are over all genes
    that the test saw, not over the modelled ones.
    """
    joined = bayesian
    for name, table in (("wilcoxon", wilcoxon), ("pseudobulk", pseudobulk)):
        columns = {"lfc": f"{name}_lfc", "p_value": f"{name}_p", "p_adjusted": f"{name}_p_adjusted"}
        part = table[[*KEY, *columns]].rename(columns=columns)
        part = part.astype(dict.fromkeys(KEY, str) | dict.fromkeys(columns.values(), float))
        joined = joined.astype(dict.fromkeys(KEY, str)).merge(part, on=KEY, how="left", validate="one_to_one")
    return joined


def rank_bayesian(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: DeOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Bayesian differential expression of the modelled genes; see `bayesian_expression.compare_bayesian`."""
    comparisons, left_out = keep_large(
        find_comparisons(counts, clusters, keys, options), options.min_cells_per_group
    )
    log_left_out(left_out, options.min_cells_per_group)
    return bayesian_expression.compare_bayesian(
        fitted.attach(counts, accelerator=accelerator), comparisons, options, seed
    )


def rank_wilcoxon(counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions) -> pd.DataFrame:
    """Rank-sum tests of all genes; see `wilcoxon.compare_wilcoxon`."""
    if not options.wilcoxon:
        return wilcoxon.compare_wilcoxon(counts.X, counts.var_names, [])
    comparisons, _ = keep_large(
        find_comparisons(counts, clusters, keys, options), options.min_cells_per_group
    )
    return wilcoxon.compare_wilcoxon(log_normalize(counts), counts.var_names, comparisons)


def rank_pseudobulk(counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions) -> pd.DataFrame:
    """DESeq2 on sums by sample; see `pseudobulk.compare_pseudobulk`. Empty without a sample key."""
    if not options.pseudobulk or not keys.sample_key:
        logger.info(
            "no pseudobulk tests: %s",
            "sample_key is not set" if options.pseudobulk else "de.pseudobulk is false",
        )
        return pd.DataFrame(columns=list(pseudobulk.COLUMNS))
    comparisons, _ = keep_large(
        find_comparisons(counts, clusters, keys, options), options.min_cells_per_group
    )
    return pseudobulk.compare_pseudobulk(counts, keys.sample_key, comparisons, options)


def combine_results(
    de_bayesian: pd.DataFrame, de_wilcoxon: pd.DataFrame, de_pseudobulk: pd.DataFrame
) -> pd.DataFrame:
    """The three tests, one row a gene and comparison; see `results.join_tests`."""
    return join_tests(de_bayesian, de_wilcoxon, de_pseudobulk)


def tabulate_concordance(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Agreement of the tests, one row a comparison; see `concordance.concordance`."""
    return concordance(de_results, options)


def select_markers(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Marker genes of clusters and labels; see `markers.rank_markers`."""
    return rank_markers(de_results, options)
