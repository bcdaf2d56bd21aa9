"""Interferon-treated and control cells of eight donors (Kang et al. 2018, doi:10.1038/nbt.4042)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.prediction.design import hold_out_cells
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.report import summarize_prediction
from scvi_downstream.pipelines.prediction.scores import compare_predictions
from scvi_downstream.pipelines.prediction.training import train_on_kept
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.study.defaults import defaults_of, replicates_of

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILE = DATA / "kang_ifnb.h5ad"
KEYS = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type_transferred")
INTERFERON = {"ISG15", "ISG20", "IFI6", "IFIT1", "IFIT2", "IFIT3", "LY6E", "OAS1", "RSAD2", "MX1", "CXCL10"}
OPTIONS = defaults_of(
    PredictionOptions,
    n_bootstrap=60,
    scvi={"training": {"max_epochs": 30, "n_epochs_kl_warmup": 15, "early_stopping": False}},
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)"),
]


@pytest.fixture(scope="module")
def counts() -> AnnData:
    import anndata

    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    return prepare_counts(
        anndata.read_h5ad(FILE), None, KEYS, defaults_of(PreparationOptions, n_top_genes=800)
    )[0]


def predicted(
    counts: AnnData, keys: Keys, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Predicted expression, scores, differences and the summary."""
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    split, design = hold_out_cells(counts, keys, OPTIONS, 0)
    store = CheckpointStore(folder / "checkpoint")
    model, training = train_on_kept(
        counts, split, OPTIONS, defaults_of(TrainingOptions), 0, "cpu", store, family="SCVI"
    )
    dataset = ScviModelDataset(filepath=folder / "scvi")
    dataset.save(model)
    expression, scores, differences, groups, _ = compare_predictions(
        counts, split, design, KEYS, OPTIONS, 0, "cpu", dataset.load()
    )
    summary = summarize_prediction(design, scores, differences, groups, scvi=training)
    return expression, scores, differences, summary


def test_unseen_donors_are_predicted_better_than_no_change(counts: AnnData, tmp_path: Path) -> None:
    expression, _, differences, summary = predicted(counts, KEYS, tmp_path)
    assert summary["targets"]["stim"]["verdict"] == "better than no change"
    scores = summary["targets"]["stim"]["scores"]
    assert scores["scvi"]["delta_pearson_top"]["low"] > 0.5
    assert scores["scvi"]["sign"]["value"] > 0.9
    # what is delivered explains most of the change, of what errs less than the source
    assert scores["chosen"]["explained"]["low"] > 0
    predictor, ceiling = summary["targets"]["stim"]["predictor"], scores.pop("measured_half")
    least = scores["no_change"]["rmse"]["value"]
    explained = {
        name: each["explained"]["value"] for name, each in scores.items() if each["rmse"]["value"] < least
    }
    assert 0 < explained[predictor] == max(explained.values()) < ceiling["explained"]["value"]
    # the change is compared with the mean shift, whichever wins
    assert {"mean_shift", "pooled_shift", "target_mean"} <= set(differences["versus"])
    top = expression.groupby("gene", observed=True)["change"].mean().nlargest(15).index
    assert len(INTERFERON & set(top)) >= 6


def test_cell_types_without_a_treated_cell_are_predicted(counts: AnnData, tmp_path: Path) -> None:
    _, scores, _, summary = predicted(counts, KEYS.model_copy(update={"sample_key": None}), tmp_path)
    assert summary["held_out"] == "cell types"
    assert summary["targets"]["stim"]["verdict"] == "better than no change"
    assert "target_mean" not in set(scores["method"])


def test_conditions_given_at_random_leave_nothing_to_predict(counts: AnnData, tmp_path: Path) -> None:
    shuffled = counts.copy()
    random = np.random.default_rng(0).permutation(counts.obs["condition"].astype(str))
    shuffled.obs["condition"] = pd.Categorical(random)
    _, _, _, summary = predicted(shuffled, KEYS, tmp_path)
    found = summary["targets"]["stim"]
    assert found["verdict"] == "nothing to predict"
    assert found["predictor"] == "no_change"
    # a model that had seen the cells from which the change is measured would correlate with it here
    assert abs(found["scores"]["scvi"]["delta_pearson"]["value"]) < 0.04
    assert abs(found["scores"]["measured_half"]["delta_pearson"]["value"]) < 0.04
