from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.trajectory.plots import (
    plot_agreement,
    plot_fates,
    plot_gene_trends,
    plot_time_agreement,
    plot_trend_heatmap,
)
from scvi_downstream.pipelines.trajectory.plots_3d import draw_trajectory_3d
from scvi_downstream.pipelines.trajectory.plots_umap import (
    curve_lines,
    graph_lines,
    paga_lines,
    place_on_layout,
    plot_trajectory,
)

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


def test_graphs_reach_to_their_tips(latent: pd.DataFrame, umap: pd.DataFrame) -> None:
    """A graph that is shorter than the cells are spread is drawn through all of them."""
    along = np.linspace(2, 8, 20)
    nodes = pd.DataFrame(np.column_stack([along, np.zeros((20, 4))]), columns=latent.columns)
    edges = pd.DataFrame({"source": range(19), "target": range(1, 20)})
    lines = graph_lines(nodes, edges, latent, umap)
    assert len(lines.lines) == 38
    assert lines.names["name"].tolist() == ["tip 1", "tip 2"]
    short = np.cos(np.pi * 0.2)
    assert lines.names["UMAP1"].iloc[0] > short
    assert lines.names["UMAP1"].iloc[1] < -short


def test_paga_is_as_wide_as_it_is_strong(umap: pd.DataFrame) -> None:
    paga = pd.DataFrame(
        {
            "cluster_1": ["a", "a", "b", "a"],
            "cluster_2": ["b", "c", "c", "d"],
            "connectivity": [0.8, 0.4, 0.05, 0.02],
            "in_tree": [True, False, False, True],
        }
    )
    positions = umap.iloc[[0, 100, 200, 299]].assign(n_cells=75).set_axis(list("abcd"), axis=0)
    lines = paga_lines(paga, positions)
    widths = lines.lines.groupby("line")["width"].first()
    assert len(widths) == 3
    assert widths.max() == 4
    assert (lines.lines.groupby("line").size() == 2).all()
    assert set(lines.names["name"]) == set("abcd")


def test_pseudotime_with_lines_start_and_cells_without(
    latent: pd.DataFrame, umap: pd.DataFrame, curves: pd.DataFrame
) -> None:
    along = latent["latent_0"]
    pseudotimes = pd.DataFrame(
        {"slingshot": along, "dpt": along.where(along < 8), "empty": np.nan}, index=CELLS
    ).iloc[::-1]
    lines = {"slingshot": curve_lines(curves, latent, umap)}
    figure = plot_trajectory(
        umap, pseudotimes, lines=lines, start=["cell3", "elsewhere"], time=along.rename("hours")
    )
    texts = _drawn(figure)
    assert {"slingshot", "dpt", "known time: hours", "lineage 1", "start"} <= set(texts)
    assert "empty" not in texts
    assert f"none ({(along >= 8).sum()} cells)" in texts
    panel = _panel(figure, "dpt")
    stars = [each for each in panel.collections if each.get_zorder() == 6]
    np.testing.assert_allclose(stars[0].get_offsets()[0], umap.loc["cell3"])
    coloured = max(
        panel.collections, key=lambda each: 0 if each.get_array() is None else len(each.get_array())
    )
    assert len(coloured.get_array()) == (along < 8).sum()
    assert "No trajectory" in _drawn(plot_trajectory(umap, pseudotimes[["empty"]]))[-1]


def test_lines_over_gaps_are_dotted(latent: pd.DataFrame, umap: pd.DataFrame, curves: pd.DataFrame) -> None:
    from matplotlib.collections import LineCollection

    left, right = latent["latent_0"] < 4, latent["latent_0"] > 6
    kept = left | right
    for cells, styles in ((latent.index, 1), (latent.index[kept], 2)):
        lines = {"x": curve_lines(curves, latent.loc[cells], umap.loc[cells])}
        figure = plot_trajectory(
            umap.loc[cells], latent.loc[cells, ["latent_0"]].set_axis(["x"], axis=1), lines=lines
        )
        drawn = [each for each in _panel(figure, "x").collections if isinstance(each, LineCollection)]
        assert len(drawn) == styles


def test_space_has_a_menu_of_methods(latent: pd.DataFrame, umap: pd.DataFrame, curves: pd.DataFrame) -> None:
    space = umap.assign(UMAP3=latent["latent_1"])
    pseudotimes = pd.DataFrame(
        {"slingshot": latent["latent_0"], "dpt": latent["latent_0"].where(lambda x: x < 8)}
    )
    figure = draw_trajectory_3d(
        space, pseudotimes, lines={"slingshot": curve_lines(curves, latent, space)}, start=["cell0"],
        time=latent["latent_0"].rename("hours"),
    )  # fmt: skip
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["slingshot", "dpt", "known time: hours"]
    names = [trace.name for trace in figure.data]
    assert names.count("start") == 3
    assert "not reached" in names
    shown = [trace.name for trace in figure.data if trace.visible]
    assert shown[0] == "slingshot"
    assert "lineage" in shown
    line = next(trace for trace in figure.data if trace.mode == "lines")
    assert len(line.x) == 26
    for button in menu.buttons:
        assert len(button.args[0]["visible"]) == len(figure.data)
    nothing = draw_trajectory_3d(space, pseudotimes * np.nan)
    assert "No trajectory" in nothing.layout.title.text


def _curves(genes: list[str], lineages: list[str]) -> pd.DataFrame:
    rows = []
    for position, gene in enumerate(genes):
        for lineage in lineages:
            time = np.linspace(0, 5 if lineage == lineages[0] else 10, 30)
            peak = 5 * position / max(len(genes) - 1, 1)
            mean = 1 + 20 * np.exp(-((time - peak) ** 2))
            rows.append(
                pd.DataFrame(
                    {
                        "lineage": lineage, "gene": gene, "pseudotime": time, "mean": mean,
                        "ci_lower": mean * 0.8, "ci_upper": np.where(time > 4.9, 1e9, mean * 1.2),
                    }
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True).astype({"lineage": "category", "gene": "category"})


@pytest.mark.parametrize("n_genes", [1, 20])
def test_genes_over_cells(n_genes: int) -> None:
    genes = [f"ENS{i}" for i in range(n_genes)]
    random = np.random.default_rng(0)
    cells = pd.DataFrame(random.poisson(4, (2000, n_genes)).astype(float), columns=genes)
    cells = cells.assign(lineage=random.choice(["a", "b"], 2000), pseudotime=random.random(2000) * 5)
    wanted = pd.DataFrame({"gene": [*genes, "absent"], "symbol": [*(f"S{i}" for i in range(n_genes)), "x"]})
    figure = plot_gene_trends(_curves(genes, ["a", "b"]), wanted, cells)
    texts = _drawn(figure)
    assert "S0" in texts
    assert ("S15" in texts) == (n_genes == 20)
    assert "S16" not in texts
    assert any("counts per 10,000" in text for text in texts)
    axes = figure.axes[0]
    assert 20 < axes.get_ylim()[1] < 30
    assert len(axes.lines) >= 2
    assert len(axes.collections[0].get_offsets()) == 1500
    assert "none could be fitted" in _drawn(plot_gene_trends(_curves(genes, ["a"]), wanted[-1:], cells))[-1]


@pytest.mark.parametrize("lineages", [["a"], ["a", "b"]])
def test_heat_map_is_ordered_by_peak(lineages: list[str]) -> None:
    genes = [f"g{i}" for i in range(12)]
    wanted = pd.DataFrame({"gene": genes, "symbol": [f"S{i}" for i in range(12)]}).sample(
        frac=1, random_state=1
    )
    curves = _curves(genes, lineages)
    curves = curves[~((curves["gene"] == "g3") & (curves["lineage"] == "b"))]
    figure = plot_trend_heatmap(curves, wanted)
    texts = _drawn(figure)
    assert any("z-score" in text for text in texts)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"S{i}" for i in range(12)]
    images = [axes.images[0].get_array() for axes in figure.axes[: len(lineages)]]
    assert (np.diff(images[0].argmax(axis=1)) >= 0).all()
    joined = np.ma.filled(np.ma.hstack(images).astype(float), np.nan)
    np.testing.assert_allclose(np.nanmean(joined, axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(joined, axis=1), 1, atol=1e-9)
    assert np.isnan(joined).any() == (len(lineages) == 2)
    assert "none changes" in _drawn(plot_trend_heatmap(curves, wanted.assign(gene="x")))[-1]


def test_matrix_of_agreement_has_its_numbers() -> None:
    matrix = pd.DataFrame([[1, -0.87, np.nan], [-0.87, 1, 0.2], [np.nan, 0.2, 1]], list("abc"), list("abc"))
    figure = plot_agreement(matrix)
    texts = _drawn(figure)
    assert texts.count("−0.87") == 2
    assert texts.count("n/a") == 2
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
    assert "one ordering" in _drawn(plot_agreement(matrix.iloc[:1, :1]))[-1]


@pytest.mark.parametrize("within", [True, False])
def test_agreement_with_time_is_drawn_best_first(*, within: bool) -> None:
    table = pd.DataFrame(
        {
            "representation": ["pca", "scvi", "scvi", "pca"],
            "method": ["dpt", "dpt", "graph", "graph"],
            "spearman": [-0.4, 0.7, 0.84, np.nan],
            "low": [-0.5, 0.6, 0.8, np.nan],
            "high": [-0.3, 0.75, 0.9, np.nan],
        }
    )
    if within:
        table = table.assign(within_batch_spearman=0.3, within_batch_low=0.1, within_batch_high=0.5)
    figure = plot_time_agreement(table, "embryo_time")
    texts = _drawn(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "scvi · graph",
        "scvi · dpt",
        "pca · dpt",
    ]
    assert any("embryo_time" in text for text in texts)
    assert ("within batches" in texts) == within
    assert axes.get_xlim()[0] < -0.5
    assert "No known time" in _drawn(plot_time_agreement(table.iloc[3:]))[-1]


def test_fates_with_and_without_genes(umap: pd.DataFrame) -> None:
    share = np.linspace(0, 1, 300)
    terminal = np.where(share > 0.95, "B", None)
    fates = pd.DataFrame(
        {"fate_B": share, "fate_T": 1 - share, "fate_entropy": 0.5, "terminal_state": terminal}, index=CELLS
    )
    fates.loc["cell0", ["fate_B", "fate_T"]] = np.nan
    drivers = pd.DataFrame(
        {
            "terminal_state": ["B", "B", "T"], "gene": ["b1", "b2", "t1"], "correlation": [0.9, 0.5, 0.7],
            "ci_lower": [0.8, 0.4, 0.6], "ci_upper": [0.95, 0.6, 0.8], "rank": [1, 2, 1],
        }
    )  # fmt: skip
    figure = plot_fates(umap, fates, drivers, top_genes=1)
    texts = _drawn(figure)
    assert {"fate: B", "fate: T", "b1", "t1", "none (1 cells)", "terminal (15 cells)"} <= set(texts)
    assert "b2" not in texts
    assert "fate: entropy" not in texts
    panel = _panel(figure, "fate: B")
    coloured = next(each for each in panel.collections if each.get_array() is not None)
    assert coloured.get_clim() == (0, 1)
    assert "b1" not in _drawn(plot_fates(umap, fates))
    assert "No fates" in _drawn(plot_fates(umap, fates[["fate_entropy"]]))[-1]
