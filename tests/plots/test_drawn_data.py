"""What goes into a figure comes out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.collections import LineCollection

from scvi_downstream.pipelines.annotation.plots import plot_confusion
from scvi_downstream.pipelines.clustering.plots import plot_clustering
from scvi_downstream.pipelines.imputation.plots import plot_imputation_scores
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.preparation.plots import plot_quality
from scvi_downstream.pipelines.training.plots import plot_history
from scvi_downstream.plots import drawn_data as module
from scvi_downstream.plots.canvas import pictures_of
from scvi_downstream.plots.charts import dot_plot, draw_intervals, heat_map
from scvi_downstream.plots.drawn_data import drawn_data
from scvi_downstream.plots.panels import legend_dots, name_rows, umap_panel
from scvi_downstream.plots.style import empty_figure, label_points, new_figure
from scvi_downstream.study.defaults import defaults_of

FEW = settings(max_examples=20)
NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False)
WORDS = (
    st.text("abcXYZ äß_-", min_size=1, max_size=6)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda word: word and word[0] != "_")
)


def axes_of(**settings: Any) -> Any:
    axes = new_figure(4, 3).subplots()
    axes.set(**settings)
    return axes


def rows(axes: Any) -> list[dict[str, Any]]:
    """Rows of the table, without what is empty in them."""
    records = drawn_data(axes.figure).to_dict("records")
    return [
        {name: value for name, value in row.items() if not pd.isna(value) and value != ""} for row in records
    ]


def short(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


@FEW
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from("abc")), min_size=1, max_size=30))
def test_cells_come_out_with_their_categories(cells: list[tuple[float, float, str]]) -> None:
    axes = axes_of()
    table = pd.DataFrame(cells, columns=["x", "y", "label"])
    umap_panel(axes, table[["x", "y"]].to_numpy(), table["label"], "labels")
    found = drawn_data(axes.figure)
    assert list(found) == ["series", "UMAP 1", "UMAP 2"]
    went_in = sorted(zip(table["label"], short(table["x"]), short(table["y"]), strict=True))
    assert sorted(found.itertuples(index=False, name=None)) == went_in


@FEW
@given(arrays(np.float64, (7, 3), elements=NUMBERS))
def test_values_of_cells_are_called_as_the_colour_bar(cells: np.ndarray) -> None:
    axes = axes_of()
    umap_panel(axes, cells[:, :2], pd.Series(cells[:, 2]), "counts", label="log\ncounts")
    found = drawn_data(axes.figure)
    assert list(found) == ["UMAP 1", "UMAP 2", "log counts"]
    assert sorted(found.itertuples(index=False, name=None)) == sorted(map(tuple, map(short, cells)))


@FEW
@given(st.data(), st.sampled_from(["imshow", "pcolormesh"]))
def test_heat_maps_come_out_cell_by_cell(data: st.DataObject, kind: str) -> None:
    names = [data.draw(st.lists(WORDS, min_size=1, max_size=5, unique=True)) for _ in "yx"]
    values = data.draw(arrays(np.float64, tuple(map(len, names)), elements=NUMBERS | st.just(np.nan)))
    table = pd.DataFrame(values, *names)
    axes = axes_of(xlabel="type", ylabel="cluster")
    if kind == "imshow":
        heat_map(axes, table, limits=(0, 1))
    else:
        axes.pcolormesh(values)
        axes.set_xticks(np.arange(len(names[1])) + 0.5, names[1])
        axes.set_yticks(np.arange(len(names[0])) + 0.5, names[0])
    expected = [
        (x, y, *short([table.loc[y, x]]))
        for y in names[0]
        for x in names[1]
        if table.loc[y, x] == table.loc[y, x]
    ]
    assert list(drawn_data(axes.figure).itertuples(index=False, name=None)) == expected


@FEW
@given(arrays(np.float64, (4, 3), elements=st.floats(-50, 50)), st.booleans())
def test_points_come_out_with_their_intervals(values: np.ndarray, vertical: bool) -> None:
    axes = axes_of()
    low, middle, high = np.sort(values, axis=1).T
    draw_intervals(axes, range(4), middle, low, high, vertical=vertical, label="scVI")
    place, along = ("x", "y") if vertical else ("y", "x")
    if not vertical:
        name_rows(axes, "abcd")
    found = drawn_data(axes.figure)
    assert found[place].tolist() == ([0, 1, 2, 3] if vertical else list("abcd"))
    assert (found["series"] == "scVI").all()
    for name, expected in {along: middle, "low": low, "high": high}.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-12)


def test_intervals_without_points_and_of_one_point() -> None:
    axes = axes_of()
    draw_intervals(axes, [1, 2], [3, 5], [2, np.nan], [4, np.nan], vertical=True, fmt="none")
    axes.hlines([7.0], [0.0], [2.0], label="null")
    assert rows(axes) == [
        {"x": 1, "low": 2, "high": 4}, {"series": "null", "y": 7, "low": 0, "high": 2},
    ]  # fmt: skip


@pytest.mark.parametrize("horizontal", [False, True])
def test_bars_have_their_length_and_name(horizontal: bool) -> None:
    axes = axes_of()
    draw, start = (axes.barh, "left") if horizontal else (axes.bar, "bottom")
    draw([0, 1], [3, 4], color="red", label="first")
    draw([0, 1], [1, 2], color=["blue", "green"], **{start: [3, 4]})
    handles = legend_dots(axes, {"second": "blue"})
    axes.legend(handles=handles)
    if horizontal:
        name_rows(axes, "ab")
    else:
        axes.set_xticks([0, 1], list("ab"))
    place, along = ("y", "x") if horizontal else ("x", "y")
    assert rows(axes) == [
        {"series": "first", place: "a", along: 3},
        {"series": "first", place: "b", along: 4},
        {"series": "second", place: "a", along: 1, "low": 3, "high": 4},
        {place: "b", along: 2, "low": 4, "high": 6},
    ]


def test_bars_beside_each_other_belong_to_one_name_and_have_errors() -> None:
    axes = axes_of()
    axes.bar([-0.2, 0.8], [3, 4], 0.4, yerr=[[1, 0], [1, 2]], label="scVI")
    axes.bar([0.2, 1.2], [5, 6], 0.4, label="PCA")
    axes.set_xticks([0, 1], ["bio\nconservation", "batch"])
    assert rows(axes) == [
        {"series": "scVI", "x": "bio conservation", "y": 3, "low": 2, "high": 4},
        {"series": "scVI", "x": "batch", "y": 4, "low": 4, "high": 6},
        {"series": "PCA", "x": "bio conservation", "y": 5},
        {"series": "PCA", "x": "batch", "y": 6},
    ]


def test_names_that_matplotlib_has_placed_itself() -> None:
    axes = axes_of()
    axes.bar(["ctrl", "stim"], [1, 2])
    axes.annotate("twice", ("stim", 2))
    axes.errorbar(["stim"], [3], label="no error")
    assert rows(axes) == [
        {"x": "ctrl", "y": 1}, {"x": "stim", "y": 2, "text": "twice"}, {"x": "stim", "y": 3},
    ]  # fmt: skip


@FEW
@given(st.lists(st.floats(0, 9), min_size=1, max_size=50))
def test_histograms_count_all(values: list[float]) -> None:
    axes = axes_of()
    axes.hist(values, bins=[0, 1, 3, 10], label="cells")
    expected = np.histogram(values, [0, 1, 3, 10])[0]
    found = drawn_data(axes.figure)
    assert found["x"].tolist() == [0.5, 2, 6.5]
    assert found["y"].tolist() == expected.tolist()
    assert set(found["series"]) == {"cells"}


def test_outlines_of_histograms() -> None:
    axes = axes_of()
    axes.stairs([4, 5], [0, 1, 3], label="PIT")
    axes.hist([1, 1, 2], [0, 1.5, 3], histtype="step", label="denoised")
    outline = [
        {"series": "denoised", "x": x, "y": y}
        for x, y in [(0, 0), (0, 2), (1.5, 2), (1.5, 1), (3, 1), (3, 0)]
    ]
    assert rows(axes) == [
        {"series": "PIT", "x": 0.5, "y": 4}, {"series": "PIT", "x": 2, "y": 5}, *outline,
    ]  # fmt: skip


@FEW
@given(arrays(np.float64, (3, 5), elements=st.floats(-50, 50)))
def test_bands_come_out_by_their_edges(values: np.ndarray) -> None:
    axes = axes_of()
    x, one, two = np.sort(values[0]), *values[1:]
    axes.fill_between(x, one, two, color="red", alpha=0.2)
    axes.plot([], [], color="red", label="lineage")
    axes.legend()
    found = drawn_data(axes.figure)
    assert set(found["series"]) == {"lineage"}
    for name, expected in {"x": x, "low": np.minimum(one, two), "high": np.maximum(one, two)}.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-12)


def test_lines_of_one_name_are_told_apart() -> None:
    axes = axes_of()
    for fold in (1, 2):
        axes.plot([0, 1], [fold, fold + 1], "r-", label="training")
    axes.plot([0, 1], [5, 6], "b-", label="kept")
    axes.plot([0.5], [5], "ro", label="training")
    axes.plot([0, np.nan], [7, 7])
    assert [(row.get("series"), row["y"]) for row in rows(axes)] == [
        ("training 1", 1), ("training 1", 2), ("training 2", 2), ("training 2", 3), ("kept", 5), ("kept", 6),
        ("training", 5), (None, 7),
    ]  # fmt: skip


def test_lines_through_the_panel_have_one_coordinate() -> None:
    axes = axes_of()
    axes.axvline(3, label="threshold")
    axes.axhline(0)
    axes.axhspan(1, 2, label="interval")
    assert rows(axes) == [
        {"series": "threshold", "x": 3}, {"y": 0}, {"series": "interval", "y": 1}, {"series": "interval", "y": 2},
    ]  # fmt: skip
    name_rows(axes, "abc")
    axes.axhline(1.5)  # no more than parts the names
    assert {"y": 1.5} not in rows(axes)


def test_dashes_at_a_name_are_points() -> None:
    axes = axes_of()
    axes.set_xticks([0, 1], list("ab"))
    axes.plot([-0.3, 0.3], [5, 5], label="null")
    axes.hlines([6], [0.75], [1.25], label="mean")
    assert rows(axes) == [{"series": "mean", "x": "b", "y": 6}, {"series": "null", "x": "a", "y": 5}]


def test_lines_that_pass_by_names_keep_their_places() -> None:
    axes = axes_of()
    axes.set_xticks([0, 1], list("ab"))
    tree = [[(0, 0), (0, 2), (1, 2), (1, 0)], [(0.4, 2), (0.4, 3), (0.4, 4)]]
    axes.add_collection(LineCollection(tree, label="tree"))
    assert [(row["series"], row["x"]) for row in rows(axes)] == [
        *(("tree 1", name) for name in "aabb"), *(("tree 2", 0.4) for _ in range(3)),
    ]  # fmt: skip


def test_steps_of_a_curve_are_one_line() -> None:
    axes = axes_of()
    axes.add_collection(
        LineCollection([[(0, 0), (1, 1)], [(1, 1), (2, 4)], [(5, 0), (6, 1)]], label="lineage")
    )
    assert [(row["series"], row["x"], row["y"]) for row in rows(axes)] == [
        ("lineage 1", 0, 0), ("lineage 1", 1, 1), ("lineage 1", 2, 4), ("lineage 2", 5, 0), ("lineage 2", 6, 1),
    ]  # fmt: skip


def test_boxes_have_quartiles_whiskers_and_outliers() -> None:
    values = np.array([*range(1, 10), 100.0])
    axes = axes_of()
    axes.boxplot([values], orientation="horizontal", whis=(1, 90), patch_artist=True, tick_labels=["donor"])
    low, middle, high = np.percentile(values, [25, 50, 75])
    assert rows(axes) == [
        {"series": "median", "x": middle, "y": "donor", "low": low, "high": high},
        {"series": "whiskers", "y": "donor", "low": 2, "high": 9},
        {"series": "outliers", "x": 1, "y": "donor"},
        {"series": "outliers", "x": 100, "y": "donor"},
    ]


def test_violins_are_bands() -> None:
    axes = axes_of()
    axes.violinplot([[1, 2, 2, 3]], showextrema=False, points=20)
    found = drawn_data(axes.figure)
    np.testing.assert_allclose(found["y"], np.linspace(1, 3, 20), rtol=1e-5)
    np.testing.assert_allclose(found["low"] + found["high"], 2, rtol=1e-5)


def test_hexagons_count_points() -> None:
    axes = axes_of()
    x, y = np.random.default_rng(0).normal(size=(2, 500))
    hexagons = axes.hexbin(x, y, gridsize=8, mincnt=1, bins="log")
    axes.figure.colorbar(hexagons, ax=axes, label="genes")
    found = drawn_data(axes.figure)
    assert list(found) == ["x", "y", "genes"]
    assert found["genes"].sum() == 500


def test_dots_have_areas_and_missing_ones_are_left_out() -> None:
    axes = axes_of()
    table = pd.DataFrame([[0.0, 1.0], [np.nan, 0.5]], index=["a", "b"], columns=["g", "h"])
    shares = pd.DataFrame([[0.5, 1.0], [0.2, 0.1]])
    dot_plot(axes, table, shares, largest=100, linewidths=[0, 1, 0, 0])
    assert rows(axes) == [
        {"x": "g", "y": "a", "value": 0, "area": 50, "rim": 0},
        {"x": "h", "y": "a", "value": 1, "area": 100, "rim": 1},
        {"x": "h", "y": "b", "value": 0.5, "area": 10, "rim": 0},
    ]


@pytest.mark.parametrize("drawn", [False, True])
def test_names_stand_at_their_points(drawn: bool) -> None:
    axes = axes_of(xscale="log")
    xy = np.random.default_rng(0).lognormal(sigma=2, size=(40, 2))
    axes.scatter(*xy.T)
    assert label_points(axes, xy[:3], ["G1", "G2", "7"], avoid=xy) == 3
    axes.annotate("beside", xy[3], xytext=(5, 5), textcoords="offset points")
    axes.annotate("alone", (500, 500))
    axes.text(0.1, 0.1, "r = 0.9", transform=axes.transAxes)
    if drawn:
        pictures_of(axes.figure)
    found = drawn_data(axes.figure)
    assert found["text"].tolist()[:4] == ["G1", "G2", "7", "beside"]
    assert found["x"].tolist() == [*short(xy[:, 0]), 500]
    assert found["text"].tolist()[4:] == [""] * 36 + ["alone"]


def test_numbers_in_cells_are_not_repeated_and_marks_are() -> None:
    axes = axes_of()
    table = pd.DataFrame([[0.25, -0.5]], index=["a"], columns=["g", "h"])
    heat_map(axes, table, limits=(0, 1), texts=table.map("{:.1%}".format))
    axes.text(1, 0, "★")
    assert [row.get("text") for row in rows(axes)] == [None, "★"]


def test_panels_are_named_and_labels_are_those_that_a_reader_finds() -> None:
    figure = new_figure(6, 4)
    panels = figure.subplots(2, 2, sharex=True)
    for axes in panels.ravel():
        axes.scatter([1], [2])
    panels[0, 0].set_title("B cells\n(12)")
    panels[0, 1].set_title("T cells", loc="left")
    panels[1, 0].set_title("T cells")
    panels[0, 0].set_ylabel("predicted,\nscVI")
    panels[1, 0].set_ylabel("predicted, MrVI")
    figure.supxlabel("measured")
    found = drawn_data(figure)
    assert list(found) == ["panel", "measured", "y", "y_label"]
    assert found["panel"].tolist() == ["B cells (12)", "T cells (2)", "T cells (3)", "4"]
    assert found["y_label"].tolist() == ["predicted, scVI"] * 2 + ["predicted, MrVI"] * 2


def test_names_that_only_the_first_panel_shows_hold_for_its_row() -> None:
    figure = new_figure(6, 2)
    left, right, map_of_cells = figure.subplots(1, 3)
    for axes in (left, right):
        axes.scatter([5, 6], [0, 1])
        name_rows(axes, ["scVI", "PCA"])
    right.set_yticklabels([])
    map_of_cells.scatter([5, 6], [0, 1])
    map_of_cells.set_yticks([])
    assert drawn_data(figure)["y"].tolist() == ["scVI", "PCA", "scVI", "PCA", 0, 1]


def test_subfigures_are_read_and_what_is_no_panel_is_not() -> None:
    figure = new_figure(6, 4)
    left, right = figure.subfigures(1, 2)
    image = left.subplots().imshow([[1.0]])
    left.colorbar(image, ax=left.axes)
    table, hidden = right.subplots(2, 1)
    table.bar([1], [1])
    table.set_axis_off()
    hidden.bar([1], [1])
    hidden.set_visible(False)
    left.axes[0].inset_axes((0, 0, 0.1, 0.1)).plot([1, 2], [3, 4])
    assert drawn_data(figure).to_dict("records") == [{"x": 0, "y": 0, "value": 1}]


def test_a_legend_of_the_figure_names_colours_of_all_panels_unless_two_are_alike() -> None:
    figure = new_figure(6, 2)
    panels = figure.subplots(1, 2)
    colors = {"up": "#D55E00", "also up": "#D55E00", "down": "#0072B2"}
    figure.legend(handles=legend_dots(panels[0], colors))
    panels[1].scatter([1, 2], [3, 4], c=["#0072B2", "#D55E00"], alpha=0.3)
    assert drawn_data(figure)["series"].tolist() == ["down", ""]


def test_large_clouds_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 4)
    axes = axes_of()
    axes.scatter(range(5), range(5))
    axes.scatter([1], [2], label="start")
    assert rows(axes) == [{"text": "5 points are not listed"}, {"series": "start", "x": 1, "y": 2}]


def test_cells_of_no_names_are_counted_alone() -> None:
    axes = axes_of(xticks=[], yticks=[])
    axes.imshow(np.eye(3))
    assert rows(axes) == [{"text": "9 cells without names are not listed"}]


def test_a_note_is_its_text() -> None:
    assert drawn_data(empty_figure("nothing was measured"))["text"].tolist() == ["nothing was measured"]


@FEW
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_have_six_digits(values: list[float]) -> None:
    axes = axes_of()
    axes.scatter(range(len(values)), values)
    assert drawn_data(axes.figure)["y"].tolist() == [float(f"{value:.6g}") for value in values]


def test_figures_of_the_project_give_what_they_were_given() -> None:
    history = pd.DataFrame({"elbo_train": [5.0, 4.0], "elbo_validation": [6.0, 5.5]}, index=[1, 2])
    summary = {"model": "scvi", "family": "SCVI", "best_epoch": 2}
    curves = drawn_data(plot_history(history, summary))
    elbo = curves[(curves["y_label"] == "negative ELBO (nats per cell)") & (curves["series"] == "validation")]
    assert elbo[["epoch", "y"]].to_numpy().tolist() == [[1, 6], [2, 5.5]]

    confusion = pd.DataFrame(
        {"method": "consensus", "true": ["B", "B", "T"], "predicted": ["B", "T", "T"], "n": [3, 1, 2]}
    )
    shares = drawn_data(plot_confusion(confusion, {"consensus": {"accuracy": 0.8, "macro_f1": 0.8}}))
    cells = shares.set_index(["True type", "Predicted type"])["share of the true type (%)"]
    assert cells.to_dict() == {("B", "B"): 75, ("B", "T"): 25, ("T", "B"): 0, ("T", "T"): 100}


def test_clusterings_give_ranges_numbers_of_clusters_and_agreement() -> None:
    stability = pd.DataFrame({"resolution": [0.5, 0.5, 1.0], "ari": [0.8, 0.9, 0.4], "n_clusters": [3, 3, 5]})
    silhouette = pd.DataFrame({"k": [2, 3], "silhouette": [0.2, 0.4], "chosen": [False, True]})
    agreement = pd.DataFrame(
        {"clustering_a": ["leiden"], "clustering_b": ["label"], "ari": [0.7], "nmi": [0.6]}
    )
    summary = {
        "recommended_resolution": 0.5, "reason": "stable", "min_stability": 0.8,
        "n_clusters": {"leiden_0.5": 3, "leiden_1": 5, "leiden_1.0": 5},
    }  # fmt: skip
    found = drawn_data(plot_clustering(stability, silhouette, agreement, summary))
    of_series = dict(list(found.groupby("series")))
    assert of_series["range"][["x", "low", "high"]].to_numpy().tolist() == [[0.5, 0.8, 0.9], [1, 0.4, 0.4]]
    assert of_series["mean"]["text"].tolist() == ["3", "5"]
    assert of_series["threshold"]["y"].tolist() == [0.8]
    assert found[found["value"] == 0.7][["x", "y"]].to_numpy().tolist() == [["leiden", "label"]]


def test_methods_are_named_in_both_panels_of_scores() -> None:
    score = {"value": 0.4, "low": 0.3, "high": 0.5}
    methods = {
        "model": {"poisson_nll": score, "pearson": score},
        "gene_mean": {"poisson_nll": score, "pearson": None},
    }
    scores = {
        "methods": methods,
        "best_baseline": "gene_mean",
        "verdict": "better",
        "cells": "held-out",
        "n_cells": 9,
    }
    by_gene = pd.DataFrame(
        {
            "pearson_model": [0.5],
            "pearson_gene_mean": [np.nan],
            "pearson_knn_smoothing": [0.3],
            "mean_held_out": [1.0],
        }
    )
    found = drawn_data(plot_imputation_scores(scores, by_gene))
    second = found[found["x_label"].str.startswith("Pearson correlation (mean")]
    assert second["y"].tolist() == ["model", "gene mean"]
    assert second["text"].tolist() == ["0.400", "constant: no correlation"]


def test_quality_gives_all_cells_by_batch() -> None:
    random = np.random.default_rng(0)
    metrics = pd.DataFrame(
        {
            "n_counts": random.integers(500, 5000, 90), "n_genes": random.integers(200, 900, 90),
            "mitochondrial_percent": random.uniform(0, 9, 90), "batch": pd.Categorical(["a", "b", "c"] * 30),
        }
    )  # fmt: skip
    summary = {"n_cells": 90, "n_cells_raw": 90, "n_genes": 9, "n_genes_raw": 9}
    found = drawn_data(plot_quality(metrics, summary, defaults_of(PreparationOptions)))
    assert found.loc[found["y_label"] == "Cells", "y"].sum() == 3 * 90
    medians = found[(found["series"] == "median") & (found["x_label"] == "Genes per cell")]
    assert medians["y"].tolist() == ["a (30)", "b (30)", "c (30)"]
    assert medians["x"].tolist() == metrics.groupby("batch", observed=True)["n_genes"].median().tolist()
