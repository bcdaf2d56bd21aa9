"""Saved models are what scvi-tools saved, and a file from a stranger runs nothing."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit
from scvi_downstream.models.saved import SavedModel, model_class_of
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import model_spec


@pytest.fixture(scope="module")
def counts() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    return anndata.AnnData(
        sparse.csr_matrix(rng.poisson(2, (60, 30)).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "batch": pd.Categorical(np.array(["x", "y"])[np.arange(60) % 2]),
                "age": rng.normal(size=60),
                "phase": pd.Categorical(rng.choice(["G1", "S"], 60)),
            },
            index=[f"c{i}" for i in range(60)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
    )


def make(family: str, genes: anndata.AnnData) -> Any:
    setup: dict[str, Any] = {"batch_key": "batch"}
    if family == "SCVI":
        setup |= {"continuous_covariate_keys": ["age"], "categorical_covariate_keys": ["phase"]}
    model_class = model_class_of(family)
    model_class.setup_anndata(genes, **setup)
    return model_class(genes, n_latent=4, n_hidden=8)


@pytest.fixture(scope="module")
def saved(counts: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained scVI model, saved by scvi-tools alone."""
    folder = tmp_path_factory.mktemp("saved") / "scvi"
    make("SCVI", counts[:, 5:25].copy()).save(str(folder))
    return folder


def tampered(saved: Path, folder: Path, change: Callable[[dict], None]) -> Path:
    """A copy of the model with other contents."""
    import torch

    contents = torch.load(saved / "model.pt", weights_only=False)
    change(contents)
    folder.mkdir()
    torch.save(contents, folder / "model.pt")
    return folder


class Payload:
    """Runs a command when an ordinary unpickler meets it."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


def test_a_file_with_code_is_refused(saved: Path, tmp_path: Path, counts: anndata.AnnData) -> None:
    flag = tmp_path / "flag"
    payload = Payload(os.system, f"touch {flag}")
    folder = tampered(saved, tmp_path / "evil", lambda c: c["attr_dict"].update(x_=payload))
    said = rf"{folder}/model\.pt is not opened: it holds more than weights and plain data"
    with pytest.raises(InputError, match=said):
        SavedModel(folder).attach(counts)
    with pytest.raises(DatasetError, match=said) as raised:
        ScviModelDataset(filepath=folder).load()
    assert isinstance(raised.value.__cause__, InputError)
    assert not flag.exists()


def test_scvi_tools_never_reads_the_file(
    saved: Path, counts: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    load = torch.load

    def elsewhere_or_restricted(
        file: Any, *args: Any, weights_only: bool | None = None, **kwargs: Any
    ) -> Any:
        assert weights_only is True or Path(file).parent != saved
        return load(file, *args, weights_only=weights_only, **kwargs)

    monkeypatch.setattr(torch, "load", elsewhere_or_restricted)
    assert SavedModel(saved).attach(counts).adata.n_vars == 20


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model\.pt"):
        _ = SavedModel(tmp_path).contents
    with pytest.raises(DatasetError, match="does not exist"):
        ScviModelDataset(filepath=tmp_path / "nothing").load()


def test_family_that_is_not_known(saved: Path, tmp_path: Path, counts: anndata.AnnData) -> None:
    folder = tampered(saved, tmp_path / "m", lambda c: c["attr_dict"]["registry_"].update(model_name="SCANV"))
    with pytest.raises(InputError, match="of the family 'SCANV'; the closest is 'SCANVI'"):
        SavedModel(folder).attach(counts)


def test_what_is_saved_can_be_asked(saved: Path) -> None:
    model = SavedModel(saved)
    assert model.family == "SCVI"
    assert model.genes.tolist() == [f"g{i}" for i in range(5, 25)]
    assert model.settings["n_latent"] == 4
    assert model.setup["batch_key"] == "batch"


def test_attach_takes_the_genes_of_the_model_in_its_order(
    saved: Path, counts: anndata.AnnData, caplog: Any
) -> None:
    shuffled = counts[:, np.random.default_rng(1).permutation(30)].copy()
    before = shuffled.obs.columns.tolist()
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of anndata on pandas
        model = SavedModel(saved).attach(shuffled)
    assert not caplog.records
    assert not model.adata.is_view
    assert model.adata.var_names.tolist() == [f"g{i}" for i in range(5, 25)]
    assert model.adata.obs_names.tolist() == counts.obs_names.tolist()
    np.testing.assert_array_equal(model.adata.X.toarray(), counts.X.toarray()[:, 5:25])
    assert shuffled.obs.columns.tolist() == before
    assert not model.module.training


def test_missing_genes_are_listed(saved: Path, counts: anndata.AnnData) -> None:
    with pytest.raises(
        InputError, match=r"2 of the 20 genes of the model in .* are not in the counts: g5, g6"
    ):
        SavedModel(saved).attach(counts[:, 7:].copy())


def test_missing_column_and_unknown_batch_are_said(saved: Path, counts: anndata.AnnData) -> None:
    without = counts.copy()
    del without.obs["batch"]
    with pytest.raises(InputError, match=r"do not fit the model .*batch"):
        SavedModel(saved).attach(without)
    other = counts.copy()
    other.obs["batch"] = pd.Categorical(["z"] * 60)
    with pytest.raises(InputError, match=r"do not fit the model .*z"):
        SavedModel(saved).attach(other)


def test_attach_is_quick(saved: Path, counts: anndata.AnnData) -> None:
    many = anndata.concat([counts] * 12, index_unique="-")
    SavedModel(saved).attach(many)
    start = time.perf_counter()
    SavedModel(saved).attach(many)
    assert time.perf_counter() - start < 1


def test_failed_save_keeps_the_old_model(saved: Path, tmp_path: Path, counts: anndata.AnnData) -> None:
    dataset = ScviModelDataset(filepath=tmp_path / "fitted")
    dataset.save(make("SCVI", counts.copy()))
    broken = make("LinearSCVI", counts.copy())
    broken.path_ = tmp_path  # not plain data
    with pytest.raises(DatasetError, match="is not opened"):
        dataset.save(broken)
    assert dataset.load().family == "SCVI"
    assert [entry.name for entry in tmp_path.iterdir()] == ["fitted"]


def test_the_same_weights_are_the_same_file(tmp_path: Path, counts: anndata.AnnData) -> None:
    one, other = (make("SCVI", counts.copy()) for _ in range(2))
    other.module.load_state_dict(one.module.state_dict())
    names = one.registry_["_scvi_uuid"], one.run_name
    files = []
    for model, name in ((one, "one"), (other, "other")):
        ScviModelDataset(filepath=tmp_path / name).save(model)
        files.append((tmp_path / name / "model.pt").read_bytes())
    assert files[0] == files[1]
    assert (one.registry_["_scvi_uuid"], one.run_name) == names


def test_preview(saved: Path) -> None:
    import json

    about = json.loads(ScviModelDataset(filepath=saved).preview())
    assert (about["family"], about["n_genes"], about["settings"]["n_latent"]) == ("SCVI", 20, 4)
    assert ScviModelDataset(filepath=saved / "nothing").preview() is None


@pytest.mark.slow
def test_cells_are_let_go_of_with_the_model(pbmc_counts: anndata.AnnData, keys: Keys, tmp_path: Path) -> None:
    import gc
    import weakref

    from scvi.model import SCVI

    spec = model_spec({"name": "scvi", "family": "SCVI", "n_hidden": 8, "training": {"max_epochs": 1}})
    genes = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    gc.collect()
    before = len(SCVI._per_instance_manager_store), len(SCVI._setup_adata_manager_store)
    result = build_and_fit(genes, spec, keys, seed=0, accelerator="cpu", checkpoints=checkpoints)
    result.model.save(str(tmp_path / "model"))
    shown = [weakref.ref(result.model.adata)]
    for _ in range(3):
        model = SavedModel(tmp_path / "model").attach(pbmc_counts)
        model.get_latent_representation(genes[:10].copy())
        shown.append(weakref.ref(model.adata))
    assert all(cells() is not None for cells in shown[-1:])
    del model, result, genes
    gc.collect()
    assert [cells() for cells in shown] == [None] * 4
    assert (len(SCVI._per_instance_manager_store), len(SCVI._setup_adata_manager_store)) == before
