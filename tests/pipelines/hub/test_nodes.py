from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.hub_folder_dataset import HubFolderDataset, open_hub_folder
from scvi_downstream.models.saved import HubFolder, SavedModel
from scvi_downstream.pipelines.hub.nodes import build_hub_export
from scvi_downstream.pipelines.hub.options import HubOptions
from scvi_downstream.pipelines.hub.pipeline import template
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.serving.embedder import Embedder
from scvi_downstream.study.defaults import defaults_of, model_options

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = pytest.mark.slow
LEADERBOARD = pd.DataFrame(
    {"model": ["scvi", "pca"], "elbo_test": [-301.0, np.nan], "scib_total": [0.6, 0.5], "n": [1, 2]}
)


def export(
    folder: Path, fitted: SavedModel, counts: AnnData, keys: Keys, options: HubOptions, **more: Any
) -> HubFolder:
    made = build_hub_export(
        fitted,
        counts,
        {"model": "scvi", "epochs": 15},
        {"n_cells": counts.n_obs, "batches": {"1": 1, "2": 1}},
        keys,
        options,
        "pbmc",
        0,
        "cpu",
        **more,
    )
    dataset = HubFolderDataset(filepath=folder)
    dataset.save(made)
    return dataset.load()


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys
) -> HubFolder:
    folder = tmp_path_factory.mktemp("export") / "hub"
    champion = {"model": "scvi", "reason": "scvi is the only model."}
    return export(
        folder,
        fitted_scvi,
        pbmc_counts,
        keys,
        defaults_of(HubOptions, license="mit"),
        leaderboard=LEADERBOARD,
        champion=champion,
    )


@pytest.fixture(scope="module")
def latent(fitted_scvi: SavedModel, pbmc_counts: AnnData) -> np.ndarray:
    return fitted_scvi.attach(pbmc_counts).get_latent_representation()


def test_scvi_hub_loads_the_folder(exported: HubFolder, latent: np.ndarray) -> None:
    from scvi.hub import HubModel

    hub = HubModel(str(exported.model.save_dir))
    assert hub.metadata.model_cls_name == "SCVI"
    assert hub.model_card.data.license == "mit"
    assert hub.model.minified_data_type == "latent_posterior_parameters"
    np.testing.assert_array_equal(hub.model.get_latent_representation(), latent)


def test_it_is_opened_here_without_counts(
    exported: HubFolder, latent: np.ndarray, pbmc_counts: AnnData
) -> None:
    np.testing.assert_array_equal(exported.latent, latent)
    assert exported.latent.index.equals(pbmc_counts.obs_names)
    assert exported.metadata["model_parent_module"] == "scvi.model"
    assert "| `scib_total` | 0.6 |" in exported.card
    model = exported.attach()
    np.testing.assert_array_equal(model.get_latent_representation(), latent)
    assert model.get_normalized_expression(library_size=1e4).shape == (700, 300)


def test_only_what_was_asked_for_leaves(exported: HubFolder) -> None:
    cells = exported.minified
    assert cells is not None
    assert cells.X.nnz == 0
    assert cells.raw is None
    assert set(cells.obs) == {"batch", "cell_type", "observed_lib_size"}
    assert set(cells.obsm) == {"scvi_latent_qzm", "scvi_latent_qzv", "X_scVI"}
    assert set(cells.uns) == {"_scvi_adata_minify_type"}


def test_the_exported_model_still_takes_counts(
    exported: HubFolder, latent: np.ndarray, pbmc_counts: AnnData
) -> None:
    np.testing.assert_array_equal(Embedder(exported.model).embed(pbmc_counts), latent)


def test_cells_are_mapped_onto_a_hub_folder_with_its_counts(
    exported: HubFolder, pbmc_counts: AnnData, tmp_path: Path
) -> None:
    from scvi_downstream.datasets.reference_dataset import ReferenceDataset

    folder = str(exported.model.save_dir)
    pbmc_counts.write_h5ad(tmp_path / "counts.h5ad")
    reference = ReferenceDataset(model=folder, counts=str(tmp_path / "counts.h5ad")).load()
    assert reference.model.attach(reference.counts).minified_data_type is None
    with pytest.raises(DatasetError, match="is minified: it holds latent cells without counts"):
        ReferenceDataset(model=folder).load()


def test_no_cells_leave_when_they_shall_not(
    fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys, tmp_path: Path, latent: np.ndarray
) -> None:
    from scvi.hub import HubModel

    scores = {"elbo_test": -301.0}
    opened = export(
        tmp_path / "hub",
        fitted_scvi,
        pbmc_counts,
        keys,
        defaults_of(HubOptions, minified=False),
        scores=scores,
    )
    assert opened.minified is None
    assert "None (hub.minified is false)" in opened.card
    assert "| `elbo_test` | -301 |" in opened.card
    hub = HubModel(str(tmp_path / "hub"))
    hub.load_model(adata=pbmc_counts[:, fitted_scvi.genes].copy())
    np.testing.assert_array_equal(hub.model.get_latent_representation(), latent)
    for what in (lambda: opened.latent, opened.attach):
        with pytest.raises(InputError, match="holds no"):
            what()


def test_obs_columns_are_chosen(
    fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys, tmp_path: Path
) -> None:
    opened = export(
        tmp_path / "hub", fitted_scvi, pbmc_counts, keys, defaults_of(HubOptions, obs_columns=("phase",))
    )
    assert set(opened.minified.obs) == {"batch", "phase", "observed_lib_size"}
    assert opened.attach().get_latent_representation().shape == (700, 5)
    with pytest.raises(InputError, match=r"hub.obs_columns: 'pase' is not in obs; the closest is 'phase'"):
        export(
            tmp_path / "hub", fitted_scvi, pbmc_counts, keys, defaults_of(HubOptions, obs_columns=("pase",))
        )


@pytest.mark.parametrize(
    ("family", "study_keys", "options", "reason"),
    [
        ("SCANVI", Keys(batch_key="batch", label_key="cell_type"), {}, None),
        ("DRVI", Keys(batch_key="batch"), {}, None),
        ("SCVI", Keys(batch_key="batch"), {"latent_distribution": "ln"}, None),
        ("SCVI", Keys(batch_key="batch"), {"use_observed_lib_size": False}, "use_observed_lib_size: false"),
        ("LinearSCVI", Keys(batch_key="batch"), {"use_observed_lib_size": True}, "encodes the zeros"),
        ("MRVI", Keys(sample_key="batch"), {"n_latent_u": 3}, "no minified form of MrVI"),
    ],
)
def test_families(
    family: str,
    study_keys: Keys,
    options: dict[str, Any],
    reason: str | None,
    pbmc_counts: AnnData,
    tmp_path: Path,
) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    spec = model_options(
        {"name": "model", "family": family, "n_latent": 4, "training": {"max_epochs": 1}, **options}
    )
    store = CheckpointDataset(filepath=str(tmp_path / "checkpoint")).load()
    model, _, _ = train_model(pbmc_counts, spec, study_keys, 0, "cpu", store)
    dataset = ScviModelDataset(filepath=tmp_path / "fitted")
    dataset.save(model)
    fitted = dataset.load()
    opened = export(tmp_path / "hub", fitted, pbmc_counts, study_keys, defaults_of(HubOptions))
    if reason:
        assert opened.minified is None
        assert reason in opened.card
        return
    if "latent_distribution" not in options:  # the mean of a logistic normal latent is drawn
        expected = fitted.attach(pbmc_counts).get_latent_representation()
        np.testing.assert_array_equal(opened.latent, expected)
        np.testing.assert_array_equal(opened.attach().get_latent_representation(), expected)
    else:
        np.testing.assert_allclose(opened.latent.sum(axis=1), 1, atol=1e-5)


def test_a_folder_that_could_run_code_or_is_no_hub_folder_is_refused(
    exported: HubFolder, tmp_path: Path
) -> None:
    import shutil

    import torch

    marker = tmp_path / "executed"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    copy = tmp_path / "copy"
    shutil.copytree(exported.model.save_dir, copy)
    saved = {"model_state_dict": {}, "var_names": Malicious(), "attr_dict": {}}
    torch.save(saved, copy / "model.pt")
    with pytest.raises(InputError, match="could run code"):
        open_hub_folder(copy)
    assert not marker.exists()
    (copy / "_scvi_required_metadata.json").write_text("[]")
    shutil.copy(exported.model.save_dir / "model.pt", copy)
    with pytest.raises(InputError, match="no mapping"):
        open_hub_folder(copy)
    (copy / "_scvi_required_metadata.json").unlink()
    with pytest.raises(InputError, match=r"_scvi_required_metadata\.json does not exist"):
        open_hub_folder(copy)


def test_the_pipeline_writes_the_folder(
    fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys, tmp_path: Path
) -> None:
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.runner import SequentialRunner

    inputs = {
        "fitted": fitted_scvi,
        "counts": pbmc_counts,
        "training_summary": {"model": "scvi"},
        "preparation_summary": {},
        "leaderboard": LEADERBOARD,
        "champion": {"model": "scvi", "reason": "it is alone."},
        "scores": {"elbo_test": -301.0},
        "params:keys": keys,
        "params:hub": defaults_of(HubOptions),
        "params:study": "pbmc",
        "params:seed": 0,
        "params:accelerator": "cpu",
    }
    for compared, said in ((True, "It was chosen among the study's models: it is alone."), (False, "-301")):
        folder = tmp_path / str(compared)
        data = {name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()}
        catalog = DataCatalog(data | {"hub": HubFolderDataset(filepath=folder)})
        SequentialRunner().run(template(compared=compared), catalog)
        assert said in open_hub_folder(folder).card


def test_the_preview_reads_no_cells(exported: HubFolder) -> None:
    preview = HubFolderDataset(filepath=exported.model.save_dir).preview()
    assert '"family": "SCVI"' in preview
    assert '"minified_cells": true' in preview
