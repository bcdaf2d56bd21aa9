"""What of a model's results hangs on its seed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.communities import by_falling_size, communities, weighted_graph
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.stability.comparison import (
    AGREEMENT_COLUMNS,
    agreement_of_fits,
    summary_of_fits,
)
from scvi_downstream.pipelines.stability.fits import COLUMNS as SCORE_COLUMNS
from scvi_downstream.pipelines.stability.fits import gather_fits, spread_of_scores
from scvi_downstream.pipelines.stability.genes import GENE_COLUMNS, consensus_genes, top_genes
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.stability.plots import plot_stability
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.statistics.comparisons import keep_large, one_vs_rest

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

__all__ = [
    "cluster_again",
    "compare_seeds",
    "plot_stability",
    "rank_genes_of_clusters",
    "rank_genes_of_labels",
    "summarize_stability",
]
logger = logging.getLogger(__name__)


def cluster_again(neighbors: NeighborsGraph, options: StabilityOptions, seed: int) -> pd.DataFrame:
    """Leiden clusters at one resolution, repeated with other seeds of Leiden.

    Parameters
    ----------
    neighbors
        Of one fit.
    options
        Resolution and number of repetitions.
    seed
        Of the first repetition; the same for all fits.

    Returns
    -------
    ``n_cells`` × (``leiden``, ``leiden_2``, …).
    """
    graph = weighted_graph(neighbors.connectivities)
    names = ["leiden", *(f"leiden_{i}" for i in range(2, options.leiden_runs + 1))]
    found = {
        name: by_falling_size(communities(graph, options.resolution, seed + i))
        for i, name in enumerate(names)
    }
    return pd.DataFrame(found, index=neighbors.cells.rename("cell"))


def rank_genes_of_labels(
    fitted: SavedModel,
    counts: AnnData,
    keys: Keys,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """Top genes of each label; see :func:`.genes.top_genes`.

    Raises
    ------
    InputError
        Without labels.
    """
    if not keys.label_key:
        raise InputError("genes of labels need label_key, which is empty; compare those of clusters")
    return _rank_genes(fitted, counts, counts.obs[keys.label_key], de, options, seed, accelerator)


def rank_genes_of_clusters(
    fitted: SavedModel,
    counts: AnnData,
    reference_clusters: pd.DataFrame,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """Top genes of each cluster of the study's own fit, the groups of all fits; see :func:`.genes.top_genes`."""
    clusters = reference_clusters["leiden"].loc[counts.obs_names]
    return _rank_genes(fitted, counts, clusters, de, options, seed, accelerator)


def _rank_genes(
    fitted: SavedModel,
    counts: AnnData,
    groups: pd.Series,
    de: DeOptions,
    options: StabilityOptions,
    seed: int,
    accelerator: Accelerator,
) -> pd.DataFrame:
    comparisons, left_out = keep_large(list(one_vs_rest("groups", groups)), de.min_cells_per_group)
    if left_out:
        names = ", ".join(comparison.group1 for comparison in left_out)
        logger.info(
            "genes of groups with fewer than %d cells are not compared: %s", de.min_cells_per_group, names
        )
    names = pd.Series(counts.var_names, counts.var_names)
    symbols = counts.var["symbol"].astype(str) if "symbol" in counts.var else names
    return top_genes(fitted.attach(counts, accelerator), comparisons, symbols, de, options, seed)


def compare_seeds(
    spec: dict[str, Any], options: StabilityOptions, seed: int, **fits: Any
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Scores, clusters, genes and latents of fits that differ in nothing but the seed.

    Parameters
    ----------
    spec
        Entry of ``models:``; its name is told.
    options
        Neighbours and length of lists.
    seed
        Of the cells that are looked at.
    fits
        ``<name>__scores``, ``<name>__score_draws``, ``<name>__latent``, ``<name>__seed_clusters`` and perhaps
        ``<name>__seed_markers``, the study's own fit first.

    Returns
    -------
    Spread of scores (:func:`.spread.spread_of_scores`), agreement of pairs (:func:`.comparison.agreement_of_fits`),
    genes by the number of fits that agree on them (:func:`.genes.consensus_genes`), and the summary.
    """
    found, failed = gather_fits(fits)
    scores, agreement = (
        pd.DataFrame(columns=list(SCORE_COLUMNS)),
        pd.DataFrame(columns=list(AGREEMENT_COLUMNS)),
    )
    genes = pd.DataFrame(columns=list(GENE_COLUMNS))
    if len(found) > 1:
        scores, agreement = spread_of_scores(found), agreement_of_fits(found, options, seed)
        genes = consensus_genes(found)
    summary = summary_of_fits(spec["name"], found, failed, scores, agreement, genes, options.top_genes)
    logger.info("%s", summary["sentences"][0])
    return scores, agreement, genes, summary


def summarize_stability(**summaries: dict[str, Any]) -> dict[str, Any]:
    """The summaries of all models in one: ``<model>__seed_summary`` by model, and their sentences."""
    models = {str(summary["model"]): summary for summary in summaries.values()}
    return {
        "models": {name: _without(summary, "sentences", "model") for name, summary in models.items()},
        "sentences": [sentence for summary in models.values() for sentence in summary["sentences"]],
    }


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}
