"""Panels have the sizes and places that they are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scvi_downstream.plots.panels import (
    empty_panel,
    legend_dots,
    name_rows,
    panel_grid,
    shortened,
    umap_panel,
)
from scvi_downstream.plots.style import MISSING, ONE_COLUMN, new_figure


@pytest.mark.parametrize(
    ("n", "size"), [(1, (ONE_COLUMN, 2.5)), (3, (ONE_COLUMN, 2.5)), (7, (ONE_COLUMN, 6.5))]
)
def test_figure_grows_by_panels(n: int, size: tuple[float, float]) -> None:
    figure, panels = panel_grid(
        n, columns=3, width=2, height=2, more_width=0.4, more_height=0.5, least_width=5
    )
    assert tuple(figure.get_size_inches()) == size
    assert figure.axes == panels
    assert len(panels) == n


def test_no_panels_make_an_empty_figure() -> None:
    figure, panels = panel_grid(0, columns=3, width=2, height=2)
    assert panels == figure.axes == []


def test_every_column_shows_the_ticks_of_a_shared_axis() -> None:
    _, panels = panel_grid(5, columns=3, width=2, height=2, sharex=True)
    shown = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels]
    assert shown == [False, False, True, True, True]


def test_cells_without_a_number_are_grey() -> None:
    axes = new_figure(3, 3).subplots()
    umap_panel(axes, np.arange(8.0).reshape(4, 2), pd.Series([1, np.nan, 3, 2]), "UMI", label="counts")
    grey, known = axes.collections
    assert [len(grey.get_offsets()), *known.get_array()] == [1, 1, 2, 3]
    assert to_hex(grey.get_facecolor()[0]).upper() == MISSING
    assert axes.get_title() == "UMI"


@pytest.mark.parametrize("values", [[True, False], ["a", "b"], pd.Categorical([1, 2])])
def test_what_is_no_number_has_a_legend(values: object) -> None:
    axes = new_figure(3, 3).subplots()
    umap_panel(axes, np.zeros((2, 2)), pd.Series(values), "type")
    assert len(axes.get_legend().get_texts()) == 2


def test_rows_are_named_downwards() -> None:
    axes = new_figure(3, 3).subplots()
    name_rows(axes, ["a", 2], margin=0.5, fontsize=7)
    assert axes.get_ylim() == (1.5, -0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "2"]


def test_an_empty_panel_says_why() -> None:
    axes = new_figure(3, 3).subplots()
    empty_panel(axes, "no genes")
    assert axes.texts[0].get_text() == "no genes"
    assert not axes.axison


def test_handles_have_names_and_colours() -> None:
    (dot,) = legend_dots(new_figure(1, 1).subplots(), {"T": "#0072B2"}, size=9)
    assert (dot.get_label(), to_hex(dot.get_facecolor()[0]), dot.get_sizes()[0]) == ("T", "#0072b2", 9)


def test_long_names_end_in_an_ellipsis() -> None:
    assert [shortened(name, 4) for name in ("CD19", "CD19B", 12345)] == ["CD19", "CD1…", "123…"]
