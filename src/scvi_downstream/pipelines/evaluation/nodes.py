"""Held-out likelihood and integration metrics of one model, and their collection into one flat record."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.scoring.criteria import CLUSTERINGS
from scvi_downstream.scoring.embedding_metrics import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood

logger = logging.getLogger(__name__)


_COSTS = (
    "model", "family", "seconds", "peak_memory_mb", "epochs", "best_epoch", "n_parameters", "device", "batch_size",
    "n_latent", "n_genes", "n_cells",
)  # fmt: skip
_LIKELIHOOD = (
    "elbo_train", "elbo_validation", "elbo_test", "elbo_test_se", "generalisation_gap", "reconstruction_error_train",
    "reconstruction_error_validation", "reconstruction_error_test", "marginal_ll_test", "marginal_ll_test_se",
    "marginal_ll_samples", "n_train", "n_validation", "n_test",
)  # fmt: skip
_NO_METRICS = ("left_out", "n_cells", "n_labelled_cells", "seconds")


def evaluate_likelihood(
    fitted: SavedModel, counts: AnnData, options: EvaluationOptions, seed: int, accelerator: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """ELBO, reconstruction error and marginal log-likelihood of training, validation and test cells.

    Parameters
    ----------
    fitted
        The model.
    counts
        Counts that it was fitted on.
    options
        Bounds of the marginal log-likelihood.
    seed
        Of the posterior samples.
    accelerator
        Where to compute.

    Returns
    -------
    Nats per cell, and the values of each cell; see :func:`scvi_downstream.scoring.likelihood.score_likelihood`.
    """
    return score_likelihood(fitted.attach(counts, accelerator=accelerator), options.sampling, seed=seed)


def score_integration(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    counts: AnnData,
    pca_latent: pd.DataFrame,
    keys: Keys,
    options: ComparisonOptions,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """scib-metrics of one embedding on its shared neighbours graph.

    Parameters
    ----------
    latent
        Cells × dimensions.
    neighbors
        The embedding's neighbours.
    counts
        For the obs columns.
    pca_latent
        Cells × principal components before integration.
    keys
        Names the label and the batch column.
    options
        Profile, and the number of resamples.
    seed
        Of the sample and the resamples.

    Returns
    -------
    Metrics in [0, 1], aggregates and what is left out; and a row for each resample of the cells, with the
    leaderboard's columns. See :func:`scvi_downstream.scoring.embedding_metrics.compute_metrics`.
    """
    obs = counts.obs.loc[latent.index]
    scores, draws = compute_metrics(
        latent.to_numpy(),
        neighbors,
        pca_latent.loc[latent.index].to_numpy(),
        obs[keys.label_key] if keys.label_key else None,
        obs[keys.batch_key] if keys.batch_key else None,
        profile=options.metrics_profile,
        n_draws=options.n_bootstrap,
        seed=seed,
    )
    if scores["left_out"]:
        logger.info(
            "integration metrics left out: %s", "; ".join(f"{k} ({v})" for k, v in scores["left_out"].items())
        )
    return scores, draws


def collect_scores(
    training_summary: dict[str, Any],
    integration: dict[str, Any],
    likelihood: dict[str, Any] | None = None,
    cluster_agreement: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """One flat record of a model, trial or baseline: what it is, what it cost, how well it did; no absent values.

    Parameters
    ----------
    training_summary
        Name, seconds and sizes.
    integration
        Of :func:`score_integration`.
    likelihood
        Of :func:`evaluate_likelihood`; baselines have none.
    cluster_agreement
        One row a pair of clusterings: columns ``clustering_a``, ``clustering_b`` (``label`` for the known labels),
        ``ari``, ``nmi``; trials and baselines are not clustered.

    Returns
    -------
    Costs, held-out likelihood, ``<clustering>_ari_labels`` and ``<clustering>_nmi_labels`` of Leiden, k-means and Ward
    clusters, ``scib_<metric>``, and ``left_out``: which metrics there are not, and why.
    """
    record = {name: training_summary.get(name) for name in _COSTS}
    record |= {name: (likelihood or {}).get(name) for name in _LIKELIHOOD}
    if cluster_agreement is not None:
        with_labels = cluster_agreement[cluster_agreement["clustering_b"] == "label"].set_index(
            "clustering_a"
        )
        record |= {
            f"{clustering}_{score}_labels": float(with_labels.loc[clustering, score])
            for clustering in CLUSTERINGS
            if clustering in with_labels.index
            for score in ("ari", "nmi")
        }
    known = {name: value for name, value in record.items() if value is not None}
    metrics = {
        f"scib_{name.removeprefix('scib_')}": value
        for name, value in integration.items()
        if name not in _NO_METRICS
    }
    by_reason: dict[str, list[str]] = {}
    for name, reason in integration["left_out"].items():
        by_reason.setdefault(reason, []).append(name)
    left_out = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())
    return known | metrics | ({"left_out": left_out} if left_out else {})
