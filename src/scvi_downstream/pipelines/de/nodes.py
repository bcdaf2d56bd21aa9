"""Differential expression of one fitted model's groups, and the classical tests beside it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream import bayesian_expression
from scvi_downstream.group_comparisons import keep_large
from scvi_downstream.normalization import log_normalize
from scvi_downstream.parameters import DeOptions, Keys
from scvi_downstream.pipelines.de import pseudobulk, wilcoxon
from scvi_downstream.pipelines.de.concordance import concordance
from scvi_downstream.pipelines.de.groups import find_comparisons, log_left_out
from scvi_downstream.pipelines.de.markers import rank_markers
from scvi_downstream.pipelines.de.results import join_tests
from scvi_downstream.plots.concordance import plot_concordance
from scvi_downstream.plots.dotplot import plot_dotplot
from scvi_downstream.plots.heatmap import plot_heatmap
from scvi_downstream.plots.volcano import plot_volcano

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models import SavedModel

__all__ = [
    "combine_results",
    "plot_concordance",
    "plot_dotplot",
    "plot_heatmap",
    "plot_volcano",
    "rank_bayesian",
    "rank_pseudobulk",
    "rank_wilcoxon",
    "select_markers",
    "tabulate_concordance",
]
logger = logging.getLogger(__name__)


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
