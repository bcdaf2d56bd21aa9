"""What holds of every dataset: made from configuration, light to import, errors that name the place."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anndata
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from matplotlib.figure import Figure
from scipy import sparse

from scvi_downstream import datasets
from scvi_downstream.cells.expression import ExpressionStream
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.runtime.errors import InputError

KINDS_THAT_KEDRO_VIZ_SHOWS = {"TablePreview", "ImagePreview", "PlotlyPreview", "JSONPreview"}


# What users, notebooks and tests rely on.
NAMES = """raw counts leaderboard champion de_results markers cell_types factors factor_associations expression
    batch_effects trajectory sample_distances protein_expression predicted_expression analysed report
    scvi.fitted scvi.history scvi.latent scvi.neighbors scvi.umap scvi.umap_3d scvi.clusters scvi.scores"""
FILES = {
    "analysed": "07_model_output/pbmc68k/analysed.h5ad",
    "de_results": "07_model_output/pbmc68k/de_results.parquet",
    "trajectory": "07_model_output/pbmc68k/trajectory.parquet",
    "cell_types": "07_model_output/pbmc68k/cell_types.parquet",
    "batch_effects": "07_model_output/pbmc68k/batch_effects.csv",
    "report": "08_reporting/pbmc68k/report.html",
    "leaderboard": "08_reporting/pbmc68k/leaderboard.csv",
}


def graph() -> NeighborsGraph:
    itself = np.arange(3, dtype=np.int32)[:, None]
    links = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    return NeighborsGraph(pd.Index(list("abc")), itself, np.zeros((3, 1), np.float32), links, 1, True)


def stream() -> ExpressionStream:
    return ExpressionStream(pd.Index(["c"]), pd.Index(["A"]), iter([np.ones((1, 1), np.float32)]), 1, {})


WRITTEN = {
    "counts.h5ad": ("AnnDataDataset", lambda: anndata.AnnData(np.ones((2, 2), np.float32))),
    "counts.zarr": ("AnnDataDataset", lambda: anndata.AnnData(np.ones((2, 2), np.float32))),
    "table.parquet": ("ParquetDataset", lambda: pd.DataFrame({"x": [1]})),
    "table.csv": ("CSVDataset", lambda: pd.DataFrame({"x": [1]})),
    "scores.json": ("JSONDataset", lambda: {"x": 1}),
    "methods.md": ("TextDataset", lambda: "text"),
    "qc.png": ("MatplotlibDataset", Figure),
    "neighbors.npz": ("SparseGraphDataset", graph),
    "expression.zarr": ("ExpressionZarrDataset", stream),
}


def catalog_of(name: str, filepath: Path | str, save_version: str | None = None, **more: Any) -> DataCatalog:
    kind = f"scvi_downstream.datasets.{WRITTEN[name][0]}"
    metadata = {"kedro-viz": {"layer": "primary"}}
    return DataCatalog.from_config(
        {"entry": {"type": kind, "filepath": str(filepath), "metadata": metadata} | more},
        save_version=save_version,
    )


def first_cause(error: BaseException) -> BaseException:
    """What Kedro's errors are about."""
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


@pytest.mark.thorough
@pytest.mark.parametrize("name", WRITTEN)
def test_saved_and_loaded_from_a_catalog(tmp_path: Path, name: str) -> None:
    catalog = catalog_of(name, tmp_path / "deep" / "folder" / name)
    assert not catalog.exists("entry")
    catalog.save("entry", WRITTEN[name][1]())
    assert catalog.exists("entry")
    catalog.load("entry")
    assert str(tmp_path) in repr(catalog["entry"])
    beside = {"qc.svg"} if name == "qc.png" else set()
    assert {entry.name for entry in (tmp_path / "deep" / "folder").iterdir()} == {name} | beside


@pytest.mark.parametrize("name", WRITTEN)
def test_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DatasetError) as raised:
        catalog_of(name, tmp_path / "data" / name).save("entry", WRITTEN[name][1]())
    cause = first_cause(raised.value)
    assert isinstance(cause, InputError)
    assert str(cause).startswith(f"cannot write {tmp_path / 'data' / name}: {tmp_path / 'data'} is a file")
    assert (tmp_path / "data").read_text() == "a file"


@pytest.mark.parametrize("name", WRITTEN)
def test_missing_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError) as raised:
        catalog_of(name, tmp_path / name).load("entry")
    assert isinstance(first_cause(raised.value), InputError)
    assert f"{tmp_path / name} does not exist" in str(first_cause(raised.value))


ON_FSSPEC = [name for name in WRITTEN if name not in ("neighbors.npz", "expression.zarr")]


@pytest.mark.parametrize("name", ON_FSSPEC)
def test_files_of_other_file_systems(name: str) -> None:
    catalog = catalog_of(name, f"memory://{uuid4()}/{name}")
    catalog.save("entry", WRITTEN[name][1]())
    assert catalog.exists("entry")
    catalog.load("entry")


@pytest.mark.parametrize("name", ON_FSSPEC)
def test_versions_are_kept(tmp_path: Path, name: str) -> None:
    for version in ("first", "second"):
        entry = catalog_of(name, tmp_path / name, versioned=True, save_version=version)
        entry.save("entry", WRITTEN[name][1]())
    assert {path.name for path in (tmp_path / name).iterdir()} == {"first", "second"}
    beside = {"qc.svg"} if name == "qc.png" else set()
    assert {path.name for path in (tmp_path / name / "second").iterdir()} == {name} | beside


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "methods.md"])
def test_previews_are_of_kinds_that_kedro_viz_shows(tmp_path: Path, name: str) -> None:
    catalog = catalog_of(name, tmp_path / name)
    dataset = catalog["entry"]
    assert dataset.preview() is None
    catalog.save("entry", WRITTEN[name][1]())
    assert inspect.signature(dataset.preview).return_annotation in KINDS_THAT_KEDRO_VIZ_SHOWS
    assert dataset.preview()


@pytest.mark.parametrize("name", NAMES.split())
def test_names_that_others_rely_on_are_in_the_catalogue(
    catalogue_entry: Callable[[str], dict[str, Any]], name: str
) -> None:
    entry = catalogue_entry(name)
    assert entry["type"].removeprefix("scvi_downstream.datasets.") in datasets.__all__
    assert entry["metadata"]["kedro-viz"]["layer"]
    model, dot, _ = name.partition(".")
    assert not dot or f"/{model}/" in entry["filepath"]


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_files_for_users_stay_where_they_are(
    catalogue_entry: Callable[[str], dict[str, Any]], name: str, file: str
) -> None:
    assert catalogue_entry(name)["filepath"] == f"data/{file}"


def files_of_the_guide() -> list[str]:
    guide = (Path(__file__).parents[2] / "docs" / "user-guide.md").read_text()
    firsts = re.findall(r"^\| (`data/\S.*?) \|", guide, re.M)
    return [Path(name).name for cell in firsts for name in re.findall(r"`([^`]+\.\w+)`", cell)]


@pytest.mark.parametrize("file", files_of_the_guide())
def test_files_that_the_guide_names_are_written_so(
    catalogue_entry: Callable[[str], dict[str, Any]], file: str
) -> None:
    assert Path(catalogue_entry(Path(file).stem)["filepath"]).name == file


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("qc_figure", "qc.png"),
        ("highly_variable_genes_figure", "highly_variable_genes.png"),
        ("scvi.loadings_figure", "scvi/loadings.png"),
        ("scvi.cross_validation_figure", "scvi/cross_validation.png"),
        ("scvi.seed_summary", "scvi/seed_summary.json"),
    ],
)
def test_the_closest_pattern_says_where_a_file_lies(
    catalogue_entry: Callable[[str], dict[str, Any]], name: str, file: str
) -> None:
    assert catalogue_entry(name)["filepath"] == f"data/08_reporting/pbmc68k/{file}"


@pytest.mark.parametrize("name", ["params:models.scvi", "parameters", "scvi.something", "something"])
def test_what_has_no_entry_is_kept_in_memory(
    catalogue_entry: Callable[[str], dict[str, Any]], name: str
) -> None:
    assert "filepath" not in catalogue_entry(name)


def test_cause_survives_a_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    catalog = catalog_of("table.csv", tmp_path / "data" / "table.csv")
    pipeline = Pipeline([Node(lambda: pd.DataFrame({"x": [1]}), None, "entry", name="make")])
    with pytest.raises(DatasetError) as raised:
        SequentialRunner().run(pipeline, catalog)
    assert isinstance(first_cause(raised.value), InputError)


def test_misspelt_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="compress"):
        catalog_of("table.csv", tmp_path / "table.csv", compress="gzip")["entry"]


def test_importing_the_datasets_is_light() -> None:
    heavy = [
        "anndata",
        "h5py",
        "matplotlib",
        "plotly",
        "scanpy",
        "scvi",
        "sklearn",
        "torch",
        "zarr",
        "faiss",
        "umap",
    ]
    code = f"import sys, scvi_downstream.datasets; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_dataset_is_exported() -> None:
    sources = "".join(path.read_text() for path in Path(datasets.__file__).parent.glob("*.py"))
    assert set(datasets.__all__) == set(re.findall(r"^class ([A-Z]\w*Dataset)\b", sources, re.M))
    for name in datasets.__all__:
        parameters = inspect.signature(getattr(datasets, name).__init__).parameters
        assert "metadata" in parameters
        kinds = {parameter.kind for key, parameter in parameters.items() if key != "self"}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.thorough
@pytest.mark.parametrize("name", datasets.__all__)
def test_examples_in_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    kind = getattr(datasets, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, name, globs={"tmp_path": tmp_path})
    assert example.examples
    said: list[str] = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
