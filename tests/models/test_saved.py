"""Saved models are what scvi-tools saved, and a file from a stranger runs nothing."""

from __future__ import annotations

import logging
import os
import pickle
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
from scvi_downstream.models.plain_data import read_contents
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
                "cell_type": pd.Categorical(rng.choice(["B", "T", "unknown"], 60)),
                "age": rng.normal(size=60),
                "phase": pd.Categorical(rng.choice(["G1", "S"], 60)),
            },
            index=[f"c{i}" for i in range(60)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
    )


def make(family: str, genes: anndata.AnnData) -> Any:
    setup: dict[str, Any] = {"batch_key": "batch"}
    if family == "SCANVI":
        setup |= {"labels_key": "cell_type", "unlabeled_category": "unknown"}
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


def tampered(saved: Path, folder: Path, change: Callable[[dict], None], **options: Any) -> Path:
    """A copy of the model with other contents."""
    import torch

    contents = torch.load(saved / "model.pt", weights_only=False)
    change(contents)
    folder.mkdir()
    torch.save(contents, folder / "model.pt", **options)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_contents(folder)
    assert str(folder / "model.pt") in str(raised.value)
    with pytest.raises(DatasetError) as wrapped:
        ScviModelDataset(filepath=folder).load()
    assert isinstance(wrapped.value.__cause__, InputError)
    return str(raised.value)


class Payload:
    """Runs a command when an ordinary unpickler meets it."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


def test_payload_runs_in_an_ordinary_reader(saved: Path, tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    import torch

    flag = tmp_path / "flag"
    folder = tampered(
        saved, tmp_path / "evil", lambda c: c["attr_dict"].update(x_=Payload(os.system, f"touch {flag}"))
    )
    torch.load(folder / "model.pt", weights_only=False)
    assert flag.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", ["attr_dict", "model_state_dict", "registry"])
@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (lambda flag: Payload(os.system, f"touch {flag}"), "system"),
        (lambda flag: Payload(eval, f"__import__('pathlib').Path({str(flag)!r}).touch()"), "eval"),
        (lambda flag: Payload(getattr, Path(flag), "touch"), "getattr"),
    ],
)
def test_code_in_the_file_does_not_run(
    saved: Path,
    tmp_path: Path,
    counts: anndata.AnnData,
    place: str,
    payload: Callable,
    named: str,
    protocol: int,
) -> None:
    flag = tmp_path / "flag"

    def change(contents: dict) -> None:
        where = contents["attr_dict"]["registry_"] if place == "registry" else contents[place]
        where["x_"] = payload(flag)

    folder = tampered(saved, tmp_path / "evil", change, pickle_protocol=protocol)
    said = refusal(folder)
    assert "is not opened: it holds more than weights and plain data" in said
    if protocol == 2:
        assert named in said
    with pytest.raises(InputError, match="is not opened"):
        SavedModel(folder).attach(counts)
    assert not flag.exists()


def test_bare_pickle_does_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "model.pt").write_bytes(pickle.dumps(Payload(os.system, f"touch {flag}")))
    refusal(folder)
    assert not flag.exists()


def test_reader_of_scvi_tools_is_never_asked(
    saved: Path, counts: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    load = torch.load

    def only_weights(*args: Any, weights_only: bool | None = None, **kwargs: Any) -> Any:
        assert weights_only is True
        return load(*args, weights_only=weights_only, **kwargs)

    monkeypatch.setattr(torch, "load", only_weights)
    assert SavedModel(saved).attach(counts).adata.n_vars == 20


def test_scvi_tools_has_its_reader_back(saved: Path, tmp_path: Path, counts: anndata.AnnData) -> None:
    from scvi.model.base import _base_model

    theirs = _base_model._load_saved_files
    SavedModel(saved).attach(counts)
    with pytest.raises(InputError):
        SavedModel(saved).attach(counts[:, :3].copy())
    assert _base_model._load_saved_files is theirs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["attr_dict"]["registry_"].update(setup_method_name="convert_legacy_save"),
            "was set up by",
        ),
        (lambda c: c["attr_dict"].update(train=1), "the attribute 'train'"),
        (lambda c: c["attr_dict"].pop("registry_"), "of which family"),
        (lambda c: c.pop("var_names"), "not a model saved by scvi-tools"),
        (lambda c: c["model_state_dict"].update(x=[1]), "no tensor"),
        (lambda c: c["attr_dict"].update(x_=pd.Index(["a"])), "of another library in attr_dict/x_"),
        (lambda c: c["attr_dict"].update(x_=np.array(["2026"], dtype="M8[D]")), "attr_dict/x_ is no array"),
    ],
)
def test_other_contents_are_refused(saved: Path, tmp_path: Path, change: Callable, said: str) -> None:
    assert said in refusal(tampered(saved, tmp_path / "odd", change))


def test_nested_objects_in_arrays_are_refused(saved: Path, tmp_path: Path) -> None:
    inner = np.empty(1, dtype=object)
    inner[0] = np.array([1])
    said = refusal(tampered(saved, tmp_path / "odd", lambda c: c["attr_dict"].update(x_=inner)))
    assert "other things than text and numbers" in said


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], dtype=np.int64),
        np.array(["β", "a"]),
        np.array(["a", None, 1.5, True], dtype=object),
        np.array([True, False]),
        np.array([1, 2], dtype=">i4"),
        np.float32(0.1),
        np.int64(-3),
        np.str_("β"),
        {"nested": [(1, "a"), {"b": None}]},
    ],
)
def test_plain_values_come_back_as_they_were(saved: Path, tmp_path: Path, value: Any) -> None:
    folder = tampered(saved, tmp_path / "model", lambda c: c["attr_dict"].update(x_=value))
    read = read_contents(folder).attributes["x_"]
    assert type(read) is type(value)
    if isinstance(value, np.ndarray | np.generic):
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)
        assert np.shape(read) == np.shape(value)
    else:
        assert read == value


@pytest.mark.parametrize("share", [0.0, 0.2, 0.99])
def test_truncated_file_is_named(saved: Path, tmp_path: Path, share: float) -> None:
    (tmp_path / "cut").mkdir()
    content = (saved / "model.pt").read_bytes()
    (tmp_path / "cut" / "model.pt").write_bytes(content[: int(len(content) * share)])
    assert "truncated" in refusal(tmp_path / "cut")


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model\.pt"):
        read_contents(tmp_path)
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
@pytest.mark.parametrize("family", ["SCVI", "SCANVI", "LinearSCVI", "DRVI"])
def test_trained_model_is_the_same_here_and_in_scvi_tools(
    family: str, counts: anndata.AnnData, tmp_path: Path
) -> None:

    model = make(family, counts.copy())
    fitting = {"accelerator": "cpu", "enable_progress_bar": False, "logger": None}
    model.train(max_epochs=3, train_size=0.7, validation_size=0.1, check_val_every_n_epoch=1, **fitting)
    dataset = ScviModelDataset(filepath=tmp_path / "fitted")
    dataset.save(model)
    assert [file.name for file in (tmp_path / "fitted").iterdir()] == ["model.pt"]

    ours = dataset.load().attach(counts)
    theirs = model_class_of(family).load(str(tmp_path / "fitted"), adata=counts.copy(), accelerator="cpu")
    for other in (ours, theirs):
        for cells in ("train_indices", "validation_indices", "test_indices"):
            np.testing.assert_array_equal(getattr(other, cells), getattr(model, cells))
        for name, tensor in model.module.state_dict().items():
            assert tensor.equal(other.module.state_dict()[name])
        latent = other.get_latent_representation()
        np.testing.assert_array_equal(latent, model.get_latent_representation())
    for name, curve in theirs.history.items():
        pd.testing.assert_frame_equal(ours.history[name], curve, check_exact=True)
    assert len(model.test_indices) > 0

    ours.save(str(tmp_path / "again"))
    assert SavedModel(tmp_path / "again").settings == dataset.load().settings


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
