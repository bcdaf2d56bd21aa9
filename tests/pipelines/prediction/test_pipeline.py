"""The pipeline's datasets are in the catalogue, and models see only what they may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.prediction.design import hold_out_cells
from scvi_downstream.pipelines.prediction.pipeline import template
from scvi_downstream.pipelines.prediction.plots import (
    plot_prediction_changes,
    plot_prediction_genes,
    plot_prediction_scores,
)
from scvi_downstream.pipelines.prediction.report import SECTION, summarize_prediction
from scvi_downstream.pipelines.prediction.scores import compare_predictions
from scvi_downstream.pipelines.prediction.training import kept_cells, train_on_kept
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import KEYS, OPTIONS, Truth

ROOT = Path(__file__).resolve().parents[3]


def test_the_report_shows_what_the_pipeline_makes() -> None:
    shown = {item.dataset for item in SECTION.items}
    made = template(samples=True).all_outputs()
    assert shown <= made
    assert {name for name in made if name.endswith("_figure")} <= shown


def test_models_see_no_held_out_cell(responding: tuple[AnnData, Truth]) -> None:
    counts, _ = responding
    split, design = hold_out_cells(counts, KEYS, OPTIONS, 0)
    kept = kept_cells(counts, split)
    roles = split.loc[kept.obs_names, "role"]
    assert set(roles) == {"training", "input"}
    assert kept.n_obs == design["n_training"] == counts.n_obs - design["n_held_out"] - design["n_reference"]
    donors = counts.obs.loc[kept.obs_names, "donor"].astype(str)
    stimulated = donors[(kept.obs["prediction_condition"] == "stim").to_numpy()]
    assert not set(stimulated) & set(design["held_out_names"])
    assert (kept.obs["prediction_sample"].astype(str).str.split(" × ").str[0] == donors).all()
    np.testing.assert_array_equal(kept.X.toarray(), counts[kept.obs_names].X.toarray())


def test_options_of_models() -> None:
    options = OPTIONS.model_copy(update={"scvi": {"n_latent": 4, "training": {"max_epochs": 3}}})
    spec = options.spec("SCVI", defaults_of(TrainingOptions, lr=0.01))
    assert (spec.hyperparameters["n_latent"], spec.training.max_epochs, spec.training.lr) == (4, 3, 0.01)
    with pytest.raises(
        InputError, match=r"models.prediction_scvi.n_latnt is not an option; the closest is 'n_latent'"
    ):
        options.model_copy(update={"scvi": {"n_latnt": 4}}).spec("SCVI", defaults_of(TrainingOptions))


def test_a_study_with_nothing_to_predict_goes_on(
    responding: tuple[AnnData, Truth], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    counts = responding[0][responding[0].obs["condition"] == "ctrl"].copy()
    split, design = hold_out_cells(counts, KEYS, OPTIONS, 0)
    assert "holds 1 condition (ctrl)" in design["reason"]
    assert "prediction is left out" in caplog.text
    store = CheckpointStore(tmp_path / "checkpoint")
    for name in ("scvi", "mrvi"):
        model, training = train_on_kept(
            counts, split, OPTIONS, defaults_of(TrainingOptions), 0, "cpu", store, family=name.upper()
        )
        assert training["trained"] is False
        dataset = ScviModelDataset(filepath=tmp_path / name)
        dataset.save(model)
    expression, scores, differences, groups, _ = compare_predictions(
        counts, split, design, KEYS, OPTIONS, 0, "cpu", dataset.load(), dataset.load()
    )
    assert len(scores) == len(expression) == 0
    summary = summarize_prediction(design, scores, differences, groups, scvi=training, mrvi=training)
    assert summary["sentences"][0].startswith(
        "Nothing was predicted: condition_key 'condition' holds 1 condition"
    )
    for figure in (
        plot_prediction_scores(scores, groups, counts, KEYS),
        plot_prediction_changes(expression, scores),
        plot_prediction_genes(expression, OPTIONS),
    ):
        assert "Nothing was predicted" in figure.texts[0].get_text()


def test_too_few_cells_are_found_before_training(responding: tuple[AnnData, Truth]) -> None:
    counts, _ = responding
    options = OPTIONS.model_copy(update={"min_cells": 1000})
    _, design = hold_out_cells(counts, KEYS, options, 0)
    assert "lower prediction.min_cells" in design["reason"]
    assert "at most 90 and 90" in design["reason"]
    with pytest.raises(InputError, match="no cell type has 1000"):
        hold_out_cells(counts, KEYS, options.model_copy(update={"target": ("stim",)}), 0)


@pytest.mark.slow
def test_both_models_find_a_planted_response(responding: tuple[AnnData, Truth], tmp_path: Path) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    counts, _ = responding
    brief = {"max_epochs": 25, "early_stopping": False, "batch_size": 64, "n_epochs_kl_warmup": 10}
    options = OPTIONS.model_copy(
        update={
            "scvi": {"n_latent": 4, "n_hidden": 32, "training": {**brief, "lr": 0.01}},
            "mrvi": {"n_latent": 10, "n_latent_u": 5, "training": {**brief, "lr": 0.01}},
        }
    )
    split, design = hold_out_cells(counts, KEYS, options, 0)
    fitted, summaries = {}, {}
    for name in ("scvi", "mrvi"):
        model, summaries[name] = train_on_kept(
            counts,
            split,
            options,
            defaults_of(TrainingOptions),
            0,
            "cpu",
            CheckpointStore(tmp_path / "checkpoint"),
            family=name.upper(),
        )
        dataset = ScviModelDataset(filepath=tmp_path / name)
        dataset.save(model)
        fitted[name] = dataset.load()
    tables = compare_predictions(
        counts, split, design, KEYS, options, 0, "cpu", fitted["scvi"], fitted["mrvi"]
    )
    expression, scores, differences, groups, _ = tables
    summary = summarize_prediction(design, scores, differences, groups, **summaries)
    assert summary["targets"]["stim"]["verdict"] == "better than no change"
    found = summary["targets"]["stim"]["scores"]
    for model in ("scvi", "mrvi"):
        assert found[model]["delta_pearson"]["low"] > 0.5
        assert found[model]["rmse_top"]["value"] < found[f"{model}_unchanged"]["rmse_top"]["value"]
        assert (expression[f"{model}_lower"] <= expression[f"{model}_upper"]).all()
    assert set(summary["seconds"]) == {"scvi", "mrvi"}
    again = compare_predictions(
        counts, split, design, KEYS, options, 0, "cpu", fitted["scvi"], fitted["mrvi"]
    )
    assert again[1].equals(scores)
