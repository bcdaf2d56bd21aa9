"""The style of figures: the project's own, a user's over it, and what is refused before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.engine.fingerprints import style_fingerprint
from scvi_downstream.pipelines.embedding.nodes import compute_umap
from scvi_downstream.pipelines.embedding.plots import plot_embedding
from scvi_downstream.pipelines.preparation.colors import own_colors
from scvi_downstream.plots.canvas import pictures_of
from scvi_downstream.plots.style import ONE_COLUMN, TWO_COLUMNS, category_colors, column_colors, new_figure
from scvi_downstream.plots.style_file import style_settings
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.figure_style import STYLE_VARIABLE, choose_style

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=4), unique=True, min_size=1, max_size=30)


@pytest.fixture
def style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mine.mplstyle"
    monkeypatch.setenv(STYLE_VARIABLE, str(file))
    return file


def drawing(width: float, n: int = 30) -> bytes:
    figure = new_figure(width, 2)
    axes = figure.subplots()
    axes.scatter(*np.random.default_rng(0).normal(size=(2, n)), rasterized=True)
    axes.set(title="Title", xlabel="x")
    return pictures_of(figure).svg


@pytest.mark.parametrize(("asked", "inches", "millimetres"), [(3, ONE_COLUMN, 89), (9, TWO_COLUMNS, 183)])
def test_a_figure_is_one_column_wide_or_two(asked: float, inches: float, millimetres: int) -> None:
    assert new_figure(asked, 2).get_figwidth() == pytest.approx(inches)
    root = ET.fromstring(drawing(asked))
    assert root.get("width") == f"{millimetres}mm"


def test_printed_letters_are_large_enough_and_need_no_font() -> None:
    smallest = {"small": 0.833, "medium": 1.0}
    settings = style_settings()
    size = settings["font.size"] / 1.5
    for name in ("legend.fontsize", "axes.titlesize", "figure.titlesize", "figure.labelsize"):
        assert size * smallest[settings[name]] >= 4.99, name
    page = drawing(3).decode()
    assert "<text" not in page
    assert "font-family" not in page


def test_the_same_figure_is_the_same_page_and_crowds_are_pixels() -> None:
    assert drawing(3) == drawing(3)
    page = drawing(3, n=20_000).decode()
    assert page.count("<image") == 1
    assert len(page) < 400_000


def test_a_style_of_the_users_own_is_laid_over_the_projects(style: Path) -> None:
    style.write_text(
        "font.size: 8\naxes.prop_cycle: cycler('color', ['112233', '445566'])\nsvg.fonttype: none\n"
    )
    assert style_settings()["font.size"] == 12
    assert list(category_colors(["a", "b"]).values()) == ["#112233", "#445566"]
    assert not style_settings()["axes.spines.top"]
    assert "<text" in drawing(3).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("font.sise: 8\n", "Bad key font.sise.*font.size"),
        ("font.size: large please\n", "font.size"),
        ("image.cmap: viridiss\n", "no image.cmap 'viridiss'; the closest is 'viridis'"),
        ("axes.prop_cycle: cycler('linestyle', ['-'])\n", "names no colours"),
        ("font.family: Nowhere Sans\n", "no font.family 'Nowhere Sans' is installed"),
    ],
)
def test_a_wrong_style_is_one_clear_message(style: Path, text: str, message: str) -> None:
    style.write_text(text)
    with pytest.raises(InputError, match=message):
        style_settings()


def test_another_style_makes_figures_anew_and_nothing_else(style: Path) -> None:
    style.write_text("font.size: 8\n")
    first = style_fingerprint(plot_embedding)
    style.write_text("font.size: 9\n")
    assert first != style_fingerprint(plot_embedding) != ()
    assert style_fingerprint(compute_umap) == ()
    choose_style("")
    assert style_fingerprint(plot_embedding) == ()


@given(NAMES, st.data())
def test_a_category_keeps_its_colour_whatever_part_is_shown(names: list[str], data: st.DataObject) -> None:
    part = data.draw(st.lists(st.sampled_from(names), min_size=1))
    values = pd.Categorical(part, categories=names)
    cells = AnnData(obs=pd.DataFrame({"type": values}, index=[f"c{i}" for i in range(len(part))]))
    assert column_colors(cells, "type") == category_colors(names)


def test_colours_of_the_input_are_kept_where_they_are_colours() -> None:
    raw = AnnData(obs=pd.DataFrame({"type": pd.Categorical(["B", "T", "unknown"])}, index=list("xyz")))
    obs = raw.obs[raw.obs["type"] != "B"].assign(
        type=lambda table: table["type"].cat.remove_unused_categories()
    )
    raw.uns["type_colors"] = ["#111111", "#22AA33ff", "#444444"]
    kept, notes = own_colors(raw, obs)
    assert kept["type_colors"].tolist() == ["#22aa33", "#BBBBBB"]
    assert notes == []
    for wrong, why in (
        (["#111111"], "1 for 3 categories"),
        (["red", "#222222", "#333333"], "'red' is no colour"),
    ):
        raw.uns["type_colors"] = wrong
        kept, notes = own_colors(raw, obs)
        assert kept == {}
        assert re.search(why, notes[0])
