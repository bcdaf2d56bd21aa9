"""Charts of rows and columns show the values that they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.plots.charts import dot_plot, draw_intervals, heat_map, legend_areas
from scvi_downstream.plots.style import DIVERGING, new_figure

TABLE = pd.DataFrame([[0.0, 1.0], [np.nan, 0.5]], index=["a", "b"], columns=[3, 7])


def names(ticks: list) -> list[str]:
    return [tick.get_text() for tick in ticks]


def test_heat_map_names_its_rows_and_columns() -> None:
    axes = new_figure(3, 3).subplots()
    image = heat_map(axes, TABLE, limits=(-1, 1), rotation=40)
    np.testing.assert_array_equal(image.get_array().filled(np.nan), TABLE)
    assert names(axes.get_xticklabels()) == ["3", "7"]
    assert names(axes.get_yticklabels()) == ["a", "b"]
    assert axes.get_xticklabels()[0].get_ha() == "right"


@pytest.mark.parametrize(
    ("cmap", "inks"),
    [("Blues", ["black", "white"]), ("viridis", ["white", "black"]), (DIVERGING, ["white"] * 2)],
)
def test_texts_can_be_read_on_every_colour_map(cmap: str, inks: list[str]) -> None:
    axes = new_figure(3, 3).subplots()
    heat_map(axes, TABLE, limits=(0, 1), cmap=cmap, texts=TABLE.map("{:.1f}".format))
    written = {text.get_text(): text.get_color() for text in axes.texts}
    assert [written["0.0"], written["1.0"], written["nan"]] == [*inks, "black"]


def test_dots_have_the_areas_of_their_shares_and_missing_ones_are_not_drawn() -> None:
    axes = new_figure(3, 3).subplots()
    dots = dot_plot(axes, TABLE, pd.DataFrame([[0.5, 1.0], [0.2, 0.1]]), largest=100, edgecolors="black")
    np.testing.assert_array_equal(dots.get_offsets().mask.any(axis=1), [False, False, True, False])
    np.testing.assert_allclose(np.asarray(dots.get_sizes())[[0, 1, 3]], [50, 100, 10])
    assert axes.get_ylim() == (1.6, -0.6)
    handles = legend_areas(axes, {"half": 0.5}, largest=100)
    assert (handles[0].get_label(), handles[0].get_sizes()[0]) == ("half", 50)


@pytest.mark.parametrize("vertical", [False, True])
def test_intervals_reach_from_low_to_high(vertical: bool) -> None:
    axes = new_figure(3, 3).subplots()
    # the second mean lies above its interval, the third has none
    draw_intervals(axes, range(3), [2.0, 9.0, 4.0], [1.0, 5.0, np.nan], [3.0, 8.0, np.nan], vertical=vertical)
    along = 1 if vertical else 0
    points, _, (bars,) = axes.containers[0]
    np.testing.assert_array_equal(points.get_xydata()[:, along], [2, 9, 4])
    ends = [np.ravel(segment)[along::2] for segment in bars.get_segments()]
    np.testing.assert_array_equal(ends[:2], [[1, 3], [5, 9]])
    assert len(ends[2]) == 0 or np.isnan(ends[2]).all()
