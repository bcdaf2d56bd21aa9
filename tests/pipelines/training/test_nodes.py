from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.pipelines.training.nodes import train_model
from scvi_downstream.study.defaults import model_options

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel

pytestmark = pytest.mark.slow


def train(counts: AnnData, keys: Keys, folder: Path, initial: SavedModel | None = None, **spec: Any) -> tuple:
    options = {"name": "model", "n_hidden": 32, "n_latent": 5, "training": {"max_epochs": 2}, **spec}
    return train_model(counts, model_options(options), keys, 0, "cpu", CheckpointStore(folder), initial)


def test_sees_highly_variable_genes_only_and_leaves_the_counts_alone(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path
) -> None:
    before = pbmc_counts.copy()
    model, history, summary = train(pbmc_counts, keys, tmp_path, family="LinearSCVI")
    assert list(model.adata.var_names) == list(pbmc_counts.var_names[pbmc_counts.var["highly_variable"]])
    assert len(history) == summary["epochs"] == 2
    assert set(pbmc_counts.obs.columns) == set(before.obs.columns)
    assert np.array_equal(pbmc_counts.X.data, before.X.data)


def test_scanvi_starts_from_the_weights_of_scvi(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, fitted_scvi: SavedModel
) -> None:
    frozen = {"max_epochs": 1, "lr": 1e-12, "weight_decay": 0.0}
    model, _, summary = train(
        pbmc_counts, keys, tmp_path, fitted_scvi, family="SCANVI", init_from="scvi", training=frozen
    )
    theirs = fitted_scvi.attach(pbmc_counts).module.state_dict()
    ours = model.module.state_dict()
    assert np.allclose(ours["px_r"].numpy(), theirs["px_r"].numpy(), atol=1e-6)
    assert summary["n_latent"] == 5


def test_one_batch_and_no_label_is_fine_for_scvi(pbmc_counts: AnnData, tmp_path: Path) -> None:
    model, _, _ = train(pbmc_counts, Keys(), tmp_path, family="SCVI")
    assert model.summary_stats.n_batch == 1


def test_covariates_reach_the_model(pbmc_counts: AnnData, tmp_path: Path) -> None:
    keys = Keys(batch_key="batch", categorical_covariates=("phase",), continuous_covariates=("S_score",))
    model, _, _ = train(pbmc_counts, keys, tmp_path, family="SCVI")
    assert model.summary_stats.n_extra_categorical_covs == 1
    assert model.summary_stats.n_extra_continuous_covs == 1


def test_a_batch_of_few_cells_is_trained(pbmc_counts: AnnData, keys: Keys, tmp_path: Path) -> None:
    few = pbmc_counts[pbmc_counts.obs["batch"].astype(str).isin(["1", "2"])].copy()
    batches = few.obs["batch"].astype(str).to_numpy()
    kept = (batches == "1") | (np.cumsum(batches == "2") <= 3)
    few = few[kept].copy()
    few.obs["batch"] = few.obs["batch"].cat.remove_unused_categories()
    model, history, _ = train(few, keys, tmp_path, family="SCVI")
    assert np.isfinite(history["elbo_train"]).all()
    assert np.isfinite(model.get_latent_representation()).all()


def test_unused_label_categories_become_no_phantom_types(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path
) -> None:
    model, _, _ = train(pbmc_counts, keys, tmp_path, family="SCANVI")
    known = set(pbmc_counts.obs["cell_type"].astype(str)) - {"unknown"}
    assert set(model.predict(pbmc_counts[:, model.adata.var_names].copy())) <= known
