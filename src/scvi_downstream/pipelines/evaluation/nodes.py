"""Held-out likelihood and integration metrics of one model, and their collection into one flat record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.models import SavedModel
from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.parameters import ComparisonOptions, EvaluationOptions, Keys
from scvi_downstream.scoring.integration import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.scoring.profiles import profile_of

from .records import baseline_record, model_record, trial_record

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

logger = logging.getLogger(__name__)


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
    leaderboard's columns. See :func:`scvi_downstream.scoring.integration.compute_metrics`.
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
