"""A model comes back as scvi-tools saved it, from any file system, and a file from a stranger runs nothing."""

from __future__ import annotations

import inspect
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import anndata
import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DatasetError
from kedro.io.core import Version
from scipy import sparse

from scvi_downstream.upstream.saved_model import UnreadableModelError, read_contents
from scvi_downstream.upstream.scvi_model_dataset import ScviModelDataset

PLACES = pytest.mark.parametrize("place", ["{tmp_path}", "file://{tmp_path}", "memory:///{name}"])


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
            },
            index=[f"c{i}" for i in range(60)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
    )


def make(family: str, counts: anndata.AnnData) -> Any:
    import scvi

    setup: dict[str, Any] = {"batch_key": "batch"}
    if family == "SCANVI":
        setup |= {"labels_key": "cell_type", "unlabeled_category": "unknown"}
    if family == "SCVI":
        setup |= {"continuous_covariate_keys": ["age"]}
    if family == "MRVI":
        setup |= {"sample_key": "cell_type"}
    model_class = getattr(scvi.model, family, None) or getattr(scvi.external, family)
    model_class.setup_anndata(counts, **setup)
    return model_class(counts, **({} if family == "MRVI" else {"n_latent": 4, "n_hidden": 8}))


@pytest.fixture(scope="module")
def model(counts: anndata.AnnData) -> Any:
    return make("SCVI", counts.copy())


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved by scvi-tools alone."""
    folder = tmp_path_factory.mktemp("saved") / "scvi"
    model.save(str(folder))
    return folder


@pytest.fixture
def filepath(tmp_path: Path, place: str) -> str:
    return f"{place.format(tmp_path=tmp_path, name=uuid4())}/deep/scvi"


@PLACES
def test_round_trip(filepath: str, model: Any, counts: anndata.AnnData) -> None:
    dataset = ScviModelDataset(filepath=filepath, load_args={"accelerator": "cpu"})
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="Failed while loading data from dataset"):
        dataset.load()
    dataset.save(model)
    assert dataset.exists()
    loaded = dataset.load()
    assert (loaded.family, loaded.genes.tolist()) == ("SCVI", counts.var_names.tolist())
    assert loaded.settings["n_latent"] == 4
    assert loaded.setup["continuous_covariate_keys"] == ["age"]
    weights = loaded.attach(counts.copy()).module.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in model.module.state_dict().items())
    dataset.save(model)  # in the place of what is there
    assert [Path(file).name for file in dataset._fs.find(str(dataset._filepath))] == ["model.pt"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:MRVI model is being loaded")
@pytest.mark.parametrize("family", ["SCVI", "SCANVI", "LinearSCVI", "DRVI", "MRVI"])
def test_trained_models_are_the_same_here_and_in_scvi_tools(
    tmp_path: Path, family: str, counts: anndata.AnnData
) -> None:
    model = make(family, counts.copy())
    fitting = {"accelerator": "cpu", "enable_progress_bar": False, "logger": None}
    model.train(max_epochs=2, train_size=0.7, validation_size=0.1, check_val_every_n_epoch=1, **fitting)
    dataset = ScviModelDataset(filepath=tmp_path / "fitted")
    dataset.save(model)
    ours = dataset.load().attach(counts.copy(), accelerator="cpu")
    theirs = type(model).load(str(tmp_path / "fitted"), adata=counts.copy(), accelerator="cpu")
    for other in (ours, theirs):
        assert type(other) is type(model)
        for cells in ("train_indices", "validation_indices", "test_indices"):
            np.testing.assert_array_equal(getattr(other, cells), getattr(model, cells))
        weights = other.module.state_dict()
        assert all(tensor.equal(weights[name]) for name, tensor in model.module.state_dict().items())
        np.testing.assert_array_equal(other.get_latent_representation(), model.get_latent_representation())
    for name, curve in theirs.history.items():
        pd.testing.assert_frame_equal(ours.history[name], curve, check_exact=True)


def test_save_args(tmp_path: Path, model: Any, counts: anndata.AnnData) -> None:
    ScviModelDataset(filepath=tmp_path / "scvi", save_args={"save_anndata": True}).save(model)
    assert anndata.read_h5ad(tmp_path / "scvi" / "adata.h5ad").shape == counts.shape


def test_load_args(saved: Path, counts: anndata.AnnData) -> None:
    contents = ScviModelDataset(filepath=saved, load_args={"accelerator": "nonsense"}).load()
    with pytest.raises(ValueError, match="nonsense"):
        contents.attach(counts.copy())
    assert contents.attach(counts.copy(), accelerator="cpu").adata.n_vars == 30


@PLACES
def test_versions_are_kept(filepath: str, model: Any) -> None:
    for version in ("first", "second"):
        ScviModelDataset(filepath=filepath, version=Version(None, version)).save(model)
    latest = ScviModelDataset(filepath=filepath, version=Version(None, None))
    assert latest.list_versions(full_path=False) == ["second", "first"]
    assert latest.load().family == "SCVI"
    with pytest.raises(DatasetError, match="must not exist if versioning is enabled"):
        ScviModelDataset(filepath=filepath, version=Version(None, "first")).save(model)
    with pytest.raises(DatasetError, match="Failed while loading data from dataset"):
        ScviModelDataset(filepath=filepath, version=Version("third", None)).load()


class Guarded(MemoryFileSystem):
    """Opens for who knows the word."""

    protocol = "guarded"
    store: ClassVar[dict] = {}
    cachable = False

    def __init__(self, word: str = "") -> None:
        super().__init__()
        self.word = word

    def _open(self, *args: Any, **options: Any) -> Any:
        if self.word != "open sesame":
            raise PermissionError("wrong word")
        return super()._open(*args, **options)


def test_credentials(model: Any) -> None:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    filepath = f"guarded:///{uuid4()}/scvi"
    dataset = ScviModelDataset(filepath=filepath, credentials={"word": "open sesame"})
    dataset.save(model)
    assert dataset.load().family == "SCVI"
    assert "sesame" not in str(dataset)
    with pytest.raises(DatasetError, match="wrong word"):
        ScviModelDataset(filepath=filepath, credentials={"word": "open barley"}).load()


def test_preview(saved: Path) -> None:
    dataset = ScviModelDataset(filepath=saved)
    about = json.loads(dataset.preview())
    assert (about["family"], about["n_genes"], about["settings"]["n_latent"]) == ("SCVI", 30, 4)
    assert about["setup"]["batch_key"] == "batch"
    assert inspect.signature(dataset.preview).return_annotation == "JSONPreview"


def test_a_model_that_could_not_be_loaded_is_not_kept(counts: anndata.AnnData) -> None:
    broken = make("LinearSCVI", counts.copy())
    broken.path_ = Path()  # not plain data
    dataset = ScviModelDataset(filepath=f"memory:///{uuid4()}/scvi")
    with pytest.raises(DatasetError, match="is not opened"):
        dataset.save(broken)
    assert not dataset.exists()


def test_what_scvi_tools_unpickles_is_plain(saved: Path) -> None:
    """Its own ``load`` is given a file made of what was read, in the place of the file."""
    import torch

    with read_contents(saved / "model.pt").plain_folder() as folder:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(folder / "model.pt")
    assert {name.partition(".")[0] for name in named} <= {"builtins", "numpy", "pandas", "pyarrow"}
    assert not folder.exists()


def tampered(saved: Path, folder: Path, change: Callable[[dict], None], **options: Any) -> Path:
    """A copy of the model with other contents."""
    import torch

    contents = torch.load(saved / "model.pt", weights_only=False)
    change(contents)
    folder.mkdir()
    torch.save(contents, folder / "model.pt", **options)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UnreadableModelError) as raised:
        read_contents(folder / "model.pt")
    assert str(folder / "model.pt") in str(raised.value)
    with pytest.raises(DatasetError) as wrapped:
        ScviModelDataset(filepath=folder).load()
    assert isinstance(wrapped.value.__cause__, UnreadableModelError)
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
    saved: Path, tmp_path: Path, place: str, payload: Callable, named: str, protocol: int
) -> None:
    flag = tmp_path / "flag"

    def change(contents: dict) -> None:
        where = contents["attr_dict"]["registry_"] if place == "registry" else contents[place]
        where["x_"] = payload(flag)

    said = refusal(tampered(saved, tmp_path / "evil", change, pickle_protocol=protocol))
    assert "is not opened: it holds more than weights and plain data" in said
    if protocol == 2:
        assert named in said
    assert not flag.exists()


def test_bare_pickle_does_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "model.pt").write_bytes(pickle.dumps(Payload(os.system, f"touch {flag}")))
    refusal(folder)
    assert not flag.exists()


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
        (lambda c: c.update(model_state_dict=[]), "model_state_dict is no mapping"),
        (lambda c: c["model_state_dict"].update(x=[1]), "no tensor"),
        (lambda c: c.update(var_names=np.array([["g"]])), "2-dimensional gene names"),
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


@pytest.mark.parametrize("family", ["SCVAE", "base", "DataSplitter"])
def test_only_models_of_scvi_tools_are_made(
    saved: Path, tmp_path: Path, counts: anndata.AnnData, family: str
) -> None:
    folder = tampered(saved, tmp_path / "m", lambda c: c["attr_dict"]["registry_"].update(model_name=family))
    with pytest.raises(UnreadableModelError, match=f"no model that is called '{family}'"):
        read_contents(folder / "model.pt").attach(counts)


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
        pd.DataFrame({"loss": [1.5, 0.5]}, index=pd.Index([3, 7], name="epoch")),
        pd.DataFrame({"loss": [1.5, 0.5]}),
        pd.DataFrame([[1.5], [0.5]], columns=pd.Index(["loss"], dtype=object)),
    ],
)
def test_plain_values_come_back_as_they_were(saved: Path, tmp_path: Path, value: Any) -> None:
    folder = tampered(saved, tmp_path / "model", lambda c: c["attr_dict"].update(x_=value))
    read = read_contents(folder / "model.pt").attributes["x_"]
    assert type(read) is type(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(read, value, check_column_type=False)
    elif isinstance(value, np.ndarray | np.generic):
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
    with pytest.raises(DatasetError, match=f"{tmp_path} holds no model.pt"):
        ScviModelDataset(filepath=tmp_path).load()
