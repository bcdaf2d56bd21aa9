"""Figures of the cell types show what the tables hold."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.plots import (
    plot_calibration,
    plot_cell_types,
    plot_cluster_names,
    plot_confusion,
    plot_label_contingency,
)

SCORE = {"accuracy": 0.75, "macro_f1": 0.7, "ece": 0.05, "ece_low": 0.02, "ece_high": 0.1, "ece_raw": 0.2}
SCORES = {
    "consensus": SCORE | {"temperature": 1.2},
    "knn": SCORE,
    "n_held_out": 4,
    "sentences": ["Nothing was transferred."],
}


@pytest.fixture
def confusion():
    return pd.DataFrame(
        {
            "method": ["consensus"] * 3 + ["knn"],
            "true": list("aabb"),
            "predicted": list("abbb"),
            "n": [3, 1, 4, 4],
        }
    )


def heat_maps(figure):
    return [axes.images[0].get_array().filled(np.nan) for axes in figure.axes if axes.images]


def test_confusion_has_shares_of_the_true_type(confusion):
    figure = plot_confusion(confusion, SCORES)
    consensus, knn = heat_maps(figure)[:2]
    np.testing.assert_allclose(consensus, [[75, 25], [0, 100]])
    assert np.isnan(knn[0]).all()
    assert figure.axes[0].get_title() == "Consensus\n75.0% right, macro F1 0.70"


@pytest.mark.thorough
def test_calibration_shows_both_stages():
    table = pd.DataFrame(
        {
            "method": ["consensus"] * 4,
            "probabilities": ["raw", "raw", "calibrated", "calibrated"],
            "low": [0.4, 0.9] * 2,
            "high": [0.5, 1.0] * 2,
            "confidence": [0.45, 0.95] * 2,
            "accuracy": [0.2, 1.0, 0.4, 1.0],
            "accuracy_low": [0.1, 0.9, 0.3, 0.9],
            "accuracy_high": [0.5, 1.0, 0.6, 1.0],
            "n": [10, 30, 10, 30],
        }
    )
    figure = plot_calibration(table, SCORES)
    assert figure.axes[0].get_title() == "Consensus\nECE 0.200 → 0.050 (0.020 to 0.100)"
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {"raw", "calibrated"}
    assert [bar.get_height() for bar in figure.axes[1].patches] == [25, 75]


def test_contingency_puts_labels_where_their_clusters_are():
    table = pd.DataFrame(
        {
            "clustering": "leiden",
            "cluster": ["0", "0", "1"],
            "label": ["z", "a", "a"],
            "n": [3, 1, 5],
            "share_of_cluster": [0.75, 0.25, 1.0],
        }
    )
    agreement = pd.DataFrame(
        {"clustering": ["leiden"], "ari": [0.5], "nmi": [0.6], "homogeneity": [0.7], "completeness": [0.8]}
    )
    figure = plot_label_contingency(table, agreement)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["z", "a"]
    np.testing.assert_allclose(heat_maps(figure)[0], [[75, 25], [0, 100]])
    assert "ARI 0.50, NMI 0.60" in figure.axes[0].get_title()


def test_types_keep_their_colours_and_wrong_cells_are_seen():
    cells = [f"c{i}" for i in range(6)]
    umap = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 2)), index=cells, columns=["UMAP1", "UMAP2"])
    counts = AnnData(
        np.zeros((6, 1)),
        obs=pd.DataFrame({"t": pd.Categorical(["a", "a", "b", "b", "unknown", "b"])}, index=cells),
    )
    cell_types = pd.DataFrame(
        {
            "cell_type_predicted": pd.Categorical(["b", "b", "b", "unknown", "b", "b"]),
            "cell_type_probability": np.linspace(0.5, 1, 6),
            "cell_type_agreement": 1.0,
            "cell_type_role": pd.Categorical(
                ["held_out", "given", "held_out", "held_out", "unknown", "given"]
            ),
        },
        index=cells,
    )
    figure = plot_cell_types(umap, counts, cell_types, SCORES, Keys(label_key="t"))
    known, predicted, _, found = figure.axes[:4]
    assert known.get_title() == "t: 5 of 6 cells have a label"

    def colors(axes):
        legend = axes.get_legend()
        return {
            text.get_text(): tuple(handle.get_facecolor()[0])
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }

    assert colors(known)["b"] == colors(predicted)["b"] != colors(known)["a"]
    assert set(colors(found)) == {
        "held out, right", "held out, wrong", "held out, not called", "label given", "no label",
    }  # fmt: skip


def test_empty_tables_say_why(confusion):
    columns = [plot_confusion(confusion.iloc[:0], SCORES), plot_calibration(confusion.iloc[:0], SCORES)]
    assert all("Nothing was transferred." in figure.texts[0].get_text() for figure in columns)
    empty = pd.DataFrame(columns=["clustering", "cluster", "label", "n", "share_of_cluster"])
    assert "No cell has a label" in plot_label_contingency(empty, empty).texts[0].get_text()


def test_every_cluster_and_type_is_shown_and_names_are_framed() -> None:
    rng = np.random.default_rng(0)
    clusters, types = ["10", "2", "0"], ["B", "T", "NK"]
    scores = pd.DataFrame(
        {"cluster": np.repeat([10, 2, 0], 3), "type": types * 3, "z": rng.normal(size=9), "fdr": 0.1}
    )
    names = pd.DataFrame(
        {"cluster": clusters, "name": ["T", "unknown", "B"], "best_type": ["T", "NK", "B"], "n_cells": 5}
    )
    figure = plot_cluster_names(scores, names, {"n_named": 2, "n_clusters": 3})
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == clusters
    assert [tick.get_text() for tick in axes.get_xticklabels()] == types
    assert sorted((patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in axes.patches) == [(0, 2), (1, 0)]
    z = axes.images[0].get_array()
    assert z[1, 2] == scores["z"].iloc[5]
    assert "2 of 3 clusters named" in axes.get_title()
