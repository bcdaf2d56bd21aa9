"""Flat records of a model or baseline, the rows of the leaderboard."""

from __future__ import annotations

from typing import Any

import pandas as pd

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
