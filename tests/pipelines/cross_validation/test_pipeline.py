"""The template: a node a fold, and datasets that the catalogue knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.cross_validation.pipeline import template
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.study.defaults import defaults_of, model_spec

if TYPE_CHECKING:
    from anndata import AnnData

CONF = Path(__file__).resolve().parents[3] / "conf" / "base"


def test_one_node_a_fold_and_one_for_all_batches() -> None:
    pipeline = template(3, batches=True)
    names = {node.name for node in pipeline.nodes}
    assert {"fit_fold_1", "fit_fold_2", "fit_fold_3", "fit_without_batches"} <= names
    assert {
        "cv_scores",
        "cv_summary",
        "cross_validation_figure",
        "cross_validation_curves_figure",
    } <= pipeline.all_outputs()
    without = template(3, batches=False)
    assert "fit_without_batches" not in {node.name for node in without.nodes}


def test_a_start_is_an_input_only_where_there_is_one() -> None:
    assert "params:initial_spec" not in template(2, batches=True).inputs()
    assert "params:initial_spec" in template(2, batches=True, initialised=True).inputs()


@pytest.mark.slow
def test_the_template_runs_in_a_namespace_and_its_results_can_be_read_again(
    small_counts: AnnData, tmp_path: Path, catalogue
) -> None:
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.pipeline import Pipeline
    from kedro.runner import SequentialRunner

    spec = model_spec(
        {"name": "scvi", "family": "SCVI", "n_latent": 3, "n_hidden": 16, "training": {"batch_size": 64}}
    )
    given = {
        "counts": small_counts,
        "params:spec": spec.model_dump(mode="json"),
        "params:keys": Keys(batch_key="batch", label_key="cell_type"),
        "params:cross_validation": defaults_of(CrossValidationOptions, n_folds=2, max_epochs=12),
        "params:evaluation": defaults_of(EvaluationOptions, marginal_ll_samples=20),
        "params:seed": 0,
        "params:accelerator": "cpu",
    }
    copied = Pipeline(
        template(2, batches=True),
        namespace="scvi",
        inputs={"counts"},
        parameters={name: name for name in set(given) - {"counts"}}
        | {"params:cv_checkpoint": "params:cv_checkpoint.scvi"},
        prefix_datasets_with_namespace=True,
    )
    catalog = DataCatalog.from_config(catalogue(data_root=str(tmp_path), study="study"))
    for name, value in given.items():
        catalog[name] = MemoryDataset(value, copy_mode="assign")
    SequentialRunner().run(copied, catalog)
    summary, scores = catalog.load("scvi.cv_summary"), catalog.load("scvi.cv_scores")
    assert summary["n_folds"] == 2
    assert summary["epochs"] == 12
    assert scores["held_out_by"].tolist() == ["fold"] * 2 + ["batch"] * 4
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"cross_validation.png", "cross_validation_curves.png", "fold_1.parquet"} <= written
    assert not [name for name in written if name.endswith(".ckpt")]


def test_every_fold_is_kept(catalogue_entry) -> None:
    for name in template(12, batches=True).all_outputs():
        assert catalogue_entry(f"scvi.{name}"), name
    assert catalogue_entry("params:cv_checkpoint.scvi")


def test_options_out_of_their_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="n_folds"):
        defaults_of(CrossValidationOptions, n_folds=1)
