"""The board's embeddings scored by scib-metrics' own Benchmarker, to hold the board against."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.comparison.noise import by_model
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.plots.style import empty_figure
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData, Figure
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.criteria import rows_by_model
from scvi_downstream.scoring.resampling import (
    stratified_sample,
    why_no_batches,
    why_no_labels,
    why_not_nested,
)

logger = logging.getLogger(__name__)


def run_benchmarker(
    counts: AnnData, keys: Keys, options: ComparisonOptions, seed: int, **latents: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Scores of all embeddings by scib-metrics' own code, with its own approximate neighbours, and its figure of them.

    It sees the labelled ones of the cells that the board is scored on, the clustering of the board's profile (by
    itself it would take k-means), and PCA as the embedding without integration.

    Parameters
    ----------
    counts
        For the obs columns.
    keys
        Names of the label and the batch column.
    options, seed
        Profile and seed of the sample where there are many cells.
    **latents
        ``<name>__latent``: cells × dimensions, ``pca`` among them; empty ones, of trials that failed, are left out.

    Returns
    -------
    Indexed by ``model``, with the leaderboard's names of the metrics and aggregates; no rows where the data have no
    two labels or no two batches within a label.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    from anndata import AnnData

    profile = options.metrics_profile
    embeddings = {name: table for name, table in by_model(latents, "latent").items() if not table.empty}
    obs = counts.obs.loc[embeddings["pca"].index, [keys.label_key, keys.batch_key]]
    labels, batches = obs[keys.label_key], obs[keys.batch_key]
    chosen = stratified_sample([labels, batches], len(obs), profile.max_cells, seed)
    chosen = chosen[(labels.iloc[chosen] != UNKNOWN).to_numpy()]
    reason = why_no_labels(labels, chosen) or why_no_batches(batches, chosen)
    if reason := reason or why_not_nested(labels, batches, chosen):
        logger.warning("scib-metrics' own Benchmarker was not run: %s", reason)
        return pd.DataFrame(), empty_figure(f"scib-metrics' own Benchmarker was not run: {reason}")
    cells = AnnData(
        obs=obs.iloc[chosen].astype(str),
        obsm={name: table.loc[obs.index].to_numpy(np.float32)[chosen] for name, table in embeddings.items()},
    )
    from matplotlib import pyplot as plt
    from scib_metrics.benchmark import Benchmarker, BioConservation

    leiden = bool(profile.resolutions)
    with quiet(["scib_metrics"]):
        benchmarker = Benchmarker(
            cells,
            keys.batch_key,
            keys.label_key,
            list(embeddings),
            BioConservation(nmi_ari_cluster_labels_leiden=leiden, nmi_ari_cluster_labels_kmeans=not leiden),
            pre_integrated_embedding_obsm_key="pca",
            progress_bar=False,
        )
        benchmarker.benchmark()
        with plt.style.context("default"):
            figure = benchmarker.plot_results_table(show=False).figure
        plt.close(figure)
        scores = benchmarker.get_results(clean_names=False).drop("Metric Type").astype(float)
    return scores.rename(columns=our_name).rename_axis(index="model", columns=None), figure


def our_name(theirs: str) -> str:
    """The leaderboard's name of a metric or aggregate of the Benchmarker."""
    name = theirs.removeprefix("nmi_ari_cluster_labels_").removesuffix("_knn").removesuffix("_per_label")
    return f"scib_{name.lower().replace(' ', '_')}"


def compare_with_benchmarker(leaderboard: pd.DataFrame, benchmarker: pd.DataFrame) -> dict[str, Any]:
    """The largest difference between the board and the Benchmarker's scores.

    Parameters
    ----------
    leaderboard, benchmarker
        One row a model, trial or baseline, with the same names of metrics.

    Returns
    -------
    ``model``, ``metric``, ``board``, ``benchmarker`` (the scores that differ most), ``version`` of scib-metrics and
    ``sentences``; the latter alone where nothing was scored.
    """
    if benchmarker.empty:
        missing = "needs two labels at least, and one of them in two batches"
        return {"sentences": [f"scib-metrics' own Benchmarker was not run, as it {missing}."]}
    theirs = rows_by_model(benchmarker)
    ours = rows_by_model(leaderboard).reindex(index=theirs.index, columns=theirs.columns).astype(float)
    pairs = pd.DataFrame({"board": ours.stack(), "benchmarker": theirs.stack()}).dropna()
    model, metric = (pairs["board"] - pairs["benchmarker"]).abs().idxmax()
    scores = {name: float(score) for name, score in pairs.loc[(model, metric)].items()}
    board, benchmarked, release = *scores.values(), version("scib-metrics")
    sentence = (
        f"The board differs from scib-metrics' own Benchmarker ({release}, approximate neighbours) by "
        f"{abs(board - benchmarked):.1g} at most: {metric} of {model} is {board:.3f} here and {benchmarked:.3f} there."
    )
    return {"model": model, "metric": metric, **scores, "version": release, "sentences": [sentence]}
