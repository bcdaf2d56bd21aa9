from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.plots.style import (
    MISSING,
    category_colors,
    label_points,
    new_figure,
    point_size,
    scatter_categories,
    scatter_values,
)


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=4), unique=True, max_size=60))
def test_every_category_has_a_colour_of_its_own(names: list[str]) -> None:
    colors = category_colors(names)
    assert list(colors) == names
    assert len(set(colors.values())) == len(names)


def test_unknown_is_grey_and_takes_no_colour_from_others() -> None:
    assert category_colors(["unknown", "T"]) == {"unknown": MISSING} | category_colors(["T"])


def test_points_shrink_with_their_number() -> None:
    assert point_size(100) > point_size(10_000) > point_size(1_000_000) > 0


def test_scatter_draws_every_cell_and_names_every_category() -> None:
    axes = new_figure(3, 3).subplots()
    xy = np.arange(20.0).reshape(10, 2)
    scatter_categories(axes, xy, pd.Series(list("aabbccaabb")), on_data=True)
    assert len(axes.collections[0].get_offsets()) == 10
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c"}


def test_highest_values_are_drawn_last() -> None:
    axes = new_figure(3, 3).subplots()
    scatter_values(axes, np.zeros((4, 2)), np.array([3.0, np.nan, 9.0, 1.0]), "counts")
    drawn = axes.collections[0].get_array()
    assert drawn[-1] == 9.0


@pytest.fixture
def axes():
    figure = new_figure(3, 3)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    return axes


@pytest.mark.thorough
def test_names_at_one_place_are_spread_and_those_without_room_left_out(axes):
    xy = np.full((200, 2), 0.5)
    written = label_points(axes, xy, [f"GENE{i}" for i in range(200)], avoid=xy)
    assert 5 < written < 200
    assert [text.get_text() for text in axes.texts][:3] == ["GENE0", "GENE1", "GENE2"]


def test_a_name_stays_inside_the_axes(axes):
    assert label_points(axes, np.array([[0.99, 0.99]]), ["CORNER"], avoid=np.empty((0, 2))) == 1
    axes.figure.draw_without_rendering()
    frame, name = axes.get_window_extent(), axes.texts[0].get_window_extent()
    assert frame.x0 <= name.x0
    assert name.x1 <= frame.x1
    assert name.y1 <= frame.y1


def test_nothing_to_name_writes_nothing(axes):
    assert label_points(axes, np.empty((0, 2)), [], avoid=np.empty((0, 2))) == 0
