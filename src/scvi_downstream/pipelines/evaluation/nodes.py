"""Held-out likelihood and integration metrics of one model, and their collection into one flat record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.scoring.criteria import profile_of
from scvi_downstream.scoring.embedding_metrics import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Any

logger = logging.getLogger(__name__)


_COSTS = (
    "model",
    "family",
    "seconds",
    "peak_memory_mb",
    "epochs",
    "best_epoch",
    "n_parameters",
    "device",
    "batch_size",
    "n_latent",
    "n_genes",
    "n_cells",
)
_LIKELIHOOD = (
    "elbo_train",
    "elbo_validation",
    "elbo_test",
    "elbo_test_se",
    "generalisation_gap",
    "reconstruction_error_train",
    "reconstruction_error_validation",
    "reconstruction_error_test",
    "marginal_ll_test",
    "marginal_ll_test_se",
    "marginal_ll_samples",
    "n_train",
    "n_validation",
    "n_test",
)
_CLUSTERINGS = ("leiden", "kmeans", "hierarchical")
_NOT_METRICS = ("left_out", "n_cells", "n_labelled_cells", "seconds")


def model_record(
    training_summary: dict[str, Any],
    likelihood: dict[str, Any],
    cluster_agreement: pd.DataFrame,
    integration: dict[str, Any],
) -> dict[str, Any]:
    """Costs, held-out likelihood, clusters against labels, integration metrics; no absent values."""
    return {
        **_costs(training_summary),
        **_held_out(likelihood),
        **agreement_with_labels(cluster_agreement),
        **_metrics(integration),
    }


def trial_record(
    training_summary: dict[str, Any], likelihood: dict[str, Any], integration: dict[str, Any]
) -> dict[str, Any]:
    """Costs, held-out likelihood and integration metrics of one trial."""
    return {**_costs(training_summary), **_held_out(likelihood), **_metrics(integration)}


def baseline_record(training_summary: dict[str, Any], integration: dict[str, Any]) -> dict[str, Any]:
    """Costs and integration metrics of one baseline."""
    return {**_costs(training_summary), **_metrics(integration)}


def agreement_with_labels(cluster_agreement: pd.DataFrame) -> dict[str, float]:
    """``<clustering>_ari_labels`` and ``<clustering>_nmi_labels`` of Leiden, k-means and Ward clusters.

    Parameters
    ----------
    cluster_agreement
        One row a pair: columns ``clustering_a``, ``clustering_b`` (``label`` for the known labels), ``ari``,
        ``nmi``.
    """
    known = cluster_agreement[cluster_agreement["clustering_b"] == "label"].set_index("clustering_a")
    return {
        f"{clustering}_{score}_labels": float(known.loc[clustering, score])
        for clustering in _CLUSTERINGS
        if clustering in known.index
        for score in ("ari", "nmi")
    }


def _costs(training_summary: dict[str, Any]) -> dict[str, Any]:
    return {name: training_summary[name] for name in _COSTS if training_summary.get(name) is not None}


def _held_out(likelihood: dict[str, Any]) -> dict[str, Any]:
    return {name: likelihood[name] for name in _LIKELIHOOD if likelihood.get(name) is not None}


def _metrics(integration: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: value for name, value in integration.items() if name not in _NOT_METRICS}
    named = {name if name.startswith("scib_") else f"scib_{name}": value for name, value in metrics.items()}
    return named | ({"left_out": _explain(integration["left_out"])} if integration["left_out"] else {})


def _explain(left_out: dict[str, str]) -> str:
    reasons = {
        reason: [name for name, why in left_out.items() if why == reason] for reason in left_out.values()
    }
    return "; ".join(f"{reason}: {', '.join(names)}" for reason, names in reasons.items())


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
    return score_likelihood(fitted.attach(counts, accelerator=accelerator), options, seed=seed)


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
        profile=profile_of(options),
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
    likelihood: dict[str, Any],
    cluster_agreement: pd.DataFrame,
    integration: dict[str, Any],
) -> dict[str, Any]:
    """One flat record of a model: what it is, what it cost, how well it did.

    Parameters
    ----------
    training_summary
        Of the training.
    likelihood
        Of :func:`evaluate_likelihood`.
    cluster_agreement
        Pairs of clusterings with their ARI and NMI.
    integration
        Of :func:`score_integration`.
    """
    return model_record(training_summary, likelihood, cluster_agreement, integration)


def collect_trial_scores(
    training_summary: dict[str, Any], likelihood: dict[str, Any], integration: dict[str, Any]
) -> dict[str, Any]:
    """One flat record of a trial: what it cost and how well it did; trials are not clustered.

    Parameters
    ----------
    training_summary
        Of the training.
    likelihood
        Of :func:`evaluate_likelihood`.
    integration
        Of :func:`score_integration`.
    """
    return trial_record(training_summary, likelihood, integration)


def collect_baseline_scores(training_summary: dict[str, Any], integration: dict[str, Any]) -> dict[str, Any]:
    """One flat record of a baseline, which has no likelihood.

    Parameters
    ----------
    training_summary
        Name, seconds and sizes.
    integration
        Of :func:`score_integration`.
    """
    return baseline_record(training_summary, integration)
