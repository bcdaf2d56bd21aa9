"""Runs side by side: what they score, and in what they differ."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.compare_runs.plots import plot_run_comparison
from scvi_downstream.pipelines.compare_runs.report import best_models, describe_runs
from scvi_downstream.pipelines.compare_runs.table import comparable_groups, tabulate_runs

__all__ = ["compare_runs", "plot_runs", "summarize_runs"]
logger = logging.getLogger(__name__)


def compare_runs(tracked_runs: pd.DataFrame) -> pd.DataFrame:
    """Models of runs as rows, with scores and the options that differ; see :func:`.table.tabulate_runs`."""
    return tabulate_runs(tracked_runs)


def summarize_runs(tracked_runs: pd.DataFrame) -> dict[str, Any]:
    """The best by each criterion, and sentences on the best, on what changed and on what cannot be compared.

    Returns
    -------
    ``n_runs``, ``n_models``, ``runs`` (ids), ``best`` (see :func:`.sentences.best_models`) and ``sentences``.
    """
    best = best_models(tracked_runs)
    sentences = describe_runs(tracked_runs, best)
    for sentence in sentences:
        logger.info("%s", sentence)
    return {
        "n_runs": tracked_runs["run_id"].nunique(),
        "n_models": int(tracked_runs["model"].notna().sum()),
        "runs": tracked_runs["run_id"].unique().tolist(),
        "best": best,
        "sentences": sentences,
    }


def plot_runs(tracked_runs: pd.DataFrame) -> Any:
    """Scores of all models of all runs; likelihoods as differences to the best on the same cells and genes."""
    groups = {name: comparable_groups(tracked_runs, name) for name in ("elbo_test", "marginal_ll_test")}
    scores = tracked_runs.rename(columns=lambda name: str(name).removeprefix("metric."))
    return plot_run_comparison(scores, groups)
