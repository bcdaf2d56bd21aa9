from __future__ import annotations

import base64
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure

from scvi_downstream.datasets.figure_datasets import HTMLDataset, MatplotlibDataset


def drawing() -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2], [3, 4])
    return figure


def page(n: int = 3, name: str = 'B </script> "x" {'):
    import plotly.graph_objects as go

    return go.Figure(go.Scatter3d(x=np.arange(n, dtype="f4"), y=np.arange(n), z=np.arange(n), name=name))


def test_png(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=tmp_path / "qc.png")
    assert dataset.preview() is None
    dataset.save(drawing())
    content = dataset.load()
    assert content.startswith(b"\x89PNG")
    assert base64.b64decode(dataset.preview()) == content
    assert inspect.signature(dataset.preview).return_annotation == "ImagePreview"


def test_page_needs_no_network(tmp_path: Path) -> None:
    dataset = HTMLDataset(filepath=tmp_path / "umap_3d.html")
    dataset.save(page())
    text = dataset.load()
    assert isinstance(text, str)
    assert len(text) > 1_000_000  # plotly.js itself
    assert '<script src="' not in text
    assert "cdn.plot.ly/plotly" not in text.split('id="figure"')[-1]


def test_plotly_preview_is_the_figure(tmp_path: Path) -> None:
    import plotly.graph_objects as go

    dataset = HTMLDataset(filepath=tmp_path / "umap_3d.html")
    assert dataset.preview() is None
    dataset.save(page())
    preview = dataset.preview()
    assert go.Figure(preview) == page()
    assert json.loads(json.dumps(preview)) == preview
    assert inspect.signature(dataset.preview).return_annotation == "PlotlyPreview"


def test_large_figures_have_no_preview(tmp_path: Path) -> None:
    dataset = HTMLDataset(filepath=tmp_path / "umap_3d.html")
    dataset.save(page(n=400_000))
    assert dataset.preview() is None
    (tmp_path / "large.png").write_bytes(b"\x89PNG" + bytes(2_000_001))
    assert MatplotlibDataset(filepath=tmp_path / "large.png").preview() is None


@pytest.mark.parametrize(("kind", "draw"), [(MatplotlibDataset, drawing), (HTMLDataset, page)])
def test_same_figure_same_bytes(tmp_path: Path, kind, draw) -> None:
    for name in ("a", "b"):
        kind(filepath=tmp_path / name).save(draw())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_failed_drawing_keeps_the_old_figure(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=tmp_path / "qc.png")
    dataset.save(drawing())
    old = dataset.load()
    figure = drawing()
    figure.suptitle(r"$\wrong$")
    with pytest.raises(DatasetError):
        dataset.save(figure)
    assert dataset.load() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["qc.png"]
