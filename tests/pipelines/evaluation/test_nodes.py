"""Records are flat, without absent values, and carry the costs of training."""

import pandas as pd
import pytest

from scvi_downstream.pipelines.evaluation.nodes import collect_scores
from scvi_downstream.pipelines.evaluation.pipeline import template, trial_template

SUMMARY = {
    "model": "scvi",
    "family": "SCVI",
    "seconds": 12.5,
    "peak_memory_mb": 300.0,
    "epochs": 40,
    "forecast_seconds": 1,
}
INTEGRATION = {
    "clisi": 0.9,
    "scib_bio_conservation": 0.9,
    "left_out": {"bras": "no batch_key", "kbet": "no batch_key", "pcr_comparison": "undefined on these data"},
    "n_cells": 10,
    "n_labelled_cells": 10,
    "seconds": 3.0,
}


def test_model_record_joins_costs_likelihood_clusters_and_metrics():
    agreement = pd.DataFrame(
        [
            ("leiden", "label", 0.5, 0.6, 10),
            ("leiden", "kmeans", 0.9, 0.9, 10),
            ("leiden_0.5", "label", 0.1, 0.1, 10),
        ],
        columns=["clustering_a", "clustering_b", "ari", "nmi", "n_cells"],
    )
    likelihood = {"elbo_test": -700.0, "marginal_ll_test": None, "seconds": 9.0, "warning": None}
    record = collect_scores(SUMMARY, INTEGRATION, likelihood, agreement)

    assert record == {
        "model": "scvi",
        "family": "SCVI",
        "seconds": 12.5,
        "peak_memory_mb": 300.0,
        "epochs": 40,
        "elbo_test": -700.0,
        "leiden_ari_labels": 0.5,
        "leiden_nmi_labels": 0.6,
        "scib_clisi": 0.9,
        "scib_bio_conservation": 0.9,
        "left_out": "no batch_key: bras, kbet; undefined on these data: pcr_comparison",
    }


def test_baseline_record_has_no_likelihood():
    record = collect_scores({"model": "pca", "family": "PCA", "seconds": 0.1}, {"clisi": 0.8, "left_out": {}})
    assert record == {"model": "pca", "family": "PCA", "seconds": 0.1, "scib_clisi": 0.8}


def test_trial_record_is_that_of_a_model_without_clusters():
    likelihood = {"elbo_test": -700.0, "marginal_ll_test": None, "seconds": 9.0, "warning": None}
    none = pd.DataFrame({"clustering_a": [], "clustering_b": [], "ari": [], "nmi": [], "n_cells": []})
    record = collect_scores(SUMMARY, INTEGRATION, likelihood)
    assert record == collect_scores(SUMMARY, INTEGRATION, likelihood, none)
    assert record["elbo_test"] == -700.0
    assert "leiden_ari_labels" not in record


@pytest.mark.filterwarnings("ignore:One or more dataset names")
def test_a_trial_is_scored_as_a_model_without_clusters():
    model, trial = template(), trial_template()
    assert trial.outputs() == model.outputs() == {"cell_likelihood", "score_draws", "scores"}
    assert model.inputs() - trial.inputs() == {"cluster_agreement"}
    assert trial.inputs() < model.inputs()
