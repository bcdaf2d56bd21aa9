import numpy as np
import pytest

from scvi_downstream.plots.style import label_points, new_figure


@pytest.fixture
def axes():
    figure = new_figure(3, 3)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    return axes


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
