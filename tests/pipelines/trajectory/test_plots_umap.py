from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.plots_umap import (
    curve_lines,
    graph_lines,
    paga_lines,
    place_on_layout,
    plot_trajectory,
)
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = pd.Index([f"cell{i}" for i in range(300)], name="cell")


def _drawn(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title() == title)


@pytest.fixture
def latent() -> pd.DataFrame:
    """A line with some width in five dimensions."""
    random = np.random.default_rng(0)
    along = np.linspace(0, 10, 300)
    return pd.DataFrame(np.column_stack([along, *random.normal(0, 0.2, (4, 300))]), index=CELLS).add_prefix(
        "latent_"
    )


@pytest.fixture
def umap(latent: pd.DataFrame) -> pd.DataFrame:
    """The same line bent into half a circle."""
    angle = np.pi * latent["latent_0"] / 10
    return pd.DataFrame({"UMAP1": np.cos(angle), "UMAP2": np.sin(angle)}, index=CELLS)


@pytest.fixture
def curves(latent: pd.DataFrame) -> pd.DataFrame:
    along = np.linspace(0.2, 9.8, 25)
    points = np.column_stack([along, np.zeros((25, 4))])
    return pd.DataFrame(points, columns=latent.columns).assign(lineage="lineage_1", point=range(25))


@pytest.fixture
def nodes(latent: pd.DataFrame) -> pd.DataFrame:
    along = np.linspace(2, 8, 20)
    return pd.DataFrame(np.column_stack([along, np.zeros((20, 4))]), columns=latent.columns)


EDGES = pd.DataFrame({"source": range(19), "target": range(1, 20)})
PAGA = pd.DataFrame(
    {
        "cluster_1": ["a", "a", "b", "a"],
        "cluster_2": ["b", "c", "c", "d"],
        "connectivity": [0.8, 0.4, 0.05, 0.02],
        "in_tree": [True, False, False, True],
    }
)


@pytest.fixture
def learnt(latent: pd.DataFrame, curves: pd.DataFrame, nodes: pd.DataFrame) -> dict[str, Any]:
    """What figures of trajectories take beside the layout; cells beyond 8 have no diffusion pseudotime."""
    from anndata import AnnData

    along = latent["latent_0"]
    orders = {
        "slingshot_pseudotime": along,
        "dpt_pseudotime": along.where(along < 8),
        "graph_pseudotime": np.nan,
    }
    return {
        "counts": AnnData(np.zeros((300, 0)), obs=pd.DataFrame({"hours": along}, index=CELLS)),
        "latent": latent,
        "landmarks": pd.DataFrame({"landmark": np.repeat(list("abcd"), 75)}, index=CELLS),
        "paga": PAGA,
        "slingshot_curves": curves,
        "graph_nodes": nodes,
        "graph_edges": EDGES,
        "trajectory": pd.DataFrame(orders, index=CELLS).iloc[::-1],
        "trajectory_start": {"cells": ["cell3", "elsewhere"]},
        "options": defaults_of(TrajectoryOptions, time_key="hours"),
    }


def test_points_lie_among_their_cells(latent: pd.DataFrame, umap: pd.DataFrame) -> None:
    points = np.array([[2.5, 0, 0, 0, 0], [5, 0, 0, 0, 0]])
    placed = place_on_layout(points, latent.to_numpy(), umap)
    angle = np.pi * points[:, 0] / 10
    np.testing.assert_allclose(placed, np.column_stack([np.cos(angle), np.sin(angle)]), atol=0.05)
    own = place_on_layout(latent.to_numpy()[:5], latent.to_numpy(), umap, n_neighbors=1)
    np.testing.assert_allclose(own, umap.iloc[:5])


def test_curves_follow_the_layout_in_the_order_of_their_points(
    latent: pd.DataFrame, umap: pd.DataFrame, curves: pd.DataFrame
) -> None:
    lines = curve_lines(curves.sample(frac=1, random_state=0), latent, umap)
    angle = np.arctan2(lines.lines["UMAP2"], lines.lines["UMAP1"])
    assert (np.diff(angle) > 0).all()
    assert lines.names["name"].tolist() == ["lineage 1"]
    assert lines.names["UMAP1"].item() == pytest.approx(-1, abs=0.05)


def test_graphs_reach_to_their_tips(latent: pd.DataFrame, umap: pd.DataFrame, nodes: pd.DataFrame) -> None:
    """A graph that is shorter than the cells are spread is drawn through all of them."""
    lines = graph_lines(nodes, EDGES, latent, umap)
    assert len(lines.lines) == 38
    assert lines.names["name"].tolist() == ["tip 1", "tip 2"]
    short = np.cos(np.pi * 0.2)
    assert lines.names["UMAP1"].iloc[0] > short
    assert lines.names["UMAP1"].iloc[1] < -short


def test_paga_is_as_wide_as_it_is_strong(umap: pd.DataFrame) -> None:
    few = umap.iloc[[0, 100, 200, 299]]
    lines = paga_lines(PAGA, pd.Series(list("abcd"), index=few.index), few)
    widths = lines.lines.groupby("line")["width"].first()
    assert len(widths) == 3
    assert widths.max() == 4
    assert (lines.lines.groupby("line").size() == 2).all()
    assert set(lines.names["name"]) == set("abcd")


def test_clusters_are_drawn_at_their_medians() -> None:
    cells = pd.Index(list("abcde"))
    layout = pd.DataFrame({"UMAP1": [0.0, 1, 8, 5, 6], "UMAP2": [0.0, 0, 3, 1, 1]}, index=cells)
    clusters = pd.Series(
        pd.Categorical(["x", "x", "x", "y", "y"], categories=["y", "x", "none"]), index=cells
    )
    names = paga_lines(PAGA.iloc[:0], clusters.iloc[::-1], layout).names.set_index("name")
    assert names.loc["x"].tolist() == [1, 0]
    assert names.loc["y", "UMAP1"] == 5.5
    assert "none" not in names.index


def test_pseudotime_with_lines_start_and_cells_without(umap: pd.DataFrame, learnt: dict[str, Any]) -> None:
    figure = plot_trajectory(umap=umap, **learnt)
    texts, along = _drawn(figure), learnt["latent"]["latent_0"]
    assert {"Slingshot", "diffusion pseudotime", "known time: hours", "lineage 1", "start"} <= set(texts)
    assert {"a", "b", "c", "d"} <= set(texts)
    assert "principal graph" not in texts
    assert f"none ({(along >= 8).sum()} cells)" in texts
    panel = _panel(figure, "diffusion pseudotime")
    stars = [each for each in panel.collections if each.get_zorder() == 6]
    np.testing.assert_allclose(stars[0].get_offsets()[0], umap.loc["cell3"])
    coloured = max(
        panel.collections, key=lambda each: 0 if each.get_array() is None else len(each.get_array())
    )
    assert len(coloured.get_array()) == (along < 8).sum()
    nothing = learnt | {"trajectory": learnt["trajectory"] * np.nan}
    assert "No trajectory" in _drawn(plot_trajectory(umap=umap, **nothing))[-1]


def test_lines_over_gaps_are_dotted(umap: pd.DataFrame, learnt: dict[str, Any]) -> None:
    from matplotlib.collections import LineCollection

    along = learnt["latent"]["latent_0"]
    kept = (along < 4) | (along > 6)
    for cells, styles in ((along.index, 1), (along.index[kept], 2)):
        given = learnt | {"trajectory": learnt["trajectory"].loc[cells]}
        figure = plot_trajectory(umap=umap.loc[cells], **given)
        drawn = [each for each in _panel(figure, "Slingshot").collections if isinstance(each, LineCollection)]
        assert len(drawn) == styles
