from __future__ import annotations

import base64
import inspect
from pathlib import Path

import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure

from scvi_downstream.datasets.figure_datasets import MatplotlibDataset
from scvi_downstream.datasets.table_datasets import CSVDataset


def drawing() -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2], [3, 4])
    return figure


def test_png(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=tmp_path / "qc.png")
    assert dataset.preview() is None
    dataset.save(drawing())
    content = dataset.load()
    assert content.startswith(b"\x89PNG")
    assert base64.b64decode(dataset.preview()) == content
    assert inspect.signature(dataset.preview).return_annotation == "ImagePreview"


def test_large_figures_have_no_preview(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(b"\x89PNG" + bytes(2_000_001))
    assert MatplotlibDataset(filepath=tmp_path / "large.png").preview() is None


def test_same_figure_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        MatplotlibDataset(filepath=tmp_path / name).save(drawing())
    for end in ("", "_data.csv"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


def test_failed_drawing_keeps_the_old_figure(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=tmp_path / "qc.png")
    dataset.save(drawing())
    old, old_page = dataset.load(), (tmp_path / "qc.svg").read_bytes()
    figure = drawing()
    figure.suptitle(r"$\wrong$")
    with pytest.raises(DatasetError):
        dataset.save(figure)
    assert dataset.load() == old
    assert (tmp_path / "qc.svg").read_bytes() == old_page
    assert {entry.name for entry in tmp_path.iterdir()} == {"qc.png", "qc.svg", "qc_data.csv"}


@pytest.mark.parametrize("place", ["{tmp}", "memory://{tmp}"])
def test_what_a_figure_shows_lies_beside_it(tmp_path: Path, place: str) -> None:
    folder = place.format(tmp=tmp_path)
    table = CSVDataset(filepath=f"{folder}/qc_data.csv")
    dataset = MatplotlibDataset(filepath=f"{folder}/qc.png")
    dataset.save(drawing())
    assert table.load().to_dict("list") == {"x": [1, 2], "y": [3, 4]}
    dataset.save(Figure())
    assert not table.exists()
