"""Figures of proteins hold what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.proteins.plots import (
    plot_protein_distributions,
    plot_protein_imputation,
    plot_protein_markers,
    plot_protein_umap,
)

CELLS = pd.Index([f"c{i}" for i in range(40)])
NAMES = ["CD3", "CD19", "CD4", "CD8", "CD14"]


def table(seed: int, *, most: float = 50.0) -> pd.DataFrame:
    values = np.random.default_rng(seed).uniform(0, most, (len(CELLS), len(NAMES)))
    return pd.DataFrame(np.floor(values) if most > 1 else values, index=CELLS, columns=NAMES)


def test_two_panels_a_protein_and_grey_where_not_measured() -> None:
    proteins = table(0)
    proteins.iloc[:10] = 0
    umap = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 2)), index=CELLS)
    figure = plot_protein_umap(umap, proteins, table(2), ["CD3", "CD4"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["CD3: counted", "CD3: denoised", "CD4: counted", "CD4: denoised"]
    counted, denoised = figure.axes[:2]
    assert sorted(len(points.get_offsets()) for points in counted.collections) == [10, 30]
    assert [len(points.get_offsets()) for points in denoised.collections] == [40]


def test_dots_are_groups_by_proteins() -> None:
    groups = pd.Series(["x"] * 10 + ["y"] * 30, index=CELLS, name="type")
    figure = plot_protein_markers(groups, table(0), table(1, most=1), NAMES[:3])
    assert len(figure.axes[0].collections[0].get_offsets()) == 6
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["x", "y"]


def test_every_measured_cell_is_counted() -> None:
    proteins = table(0)
    proteins.iloc[:10] = 0
    figure = plot_protein_distributions(proteins, table(1), table(2, most=1), ["CD3"])
    bars = [patch.get_height() for patch in figure.axes[0].patches if hasattr(patch, "get_height")]
    assert sum(bars) == 30


def test_intervals_by_method_and_a_reason_where_there_are_none() -> None:
    rows = [
        {
            "held_out": "b", "kind": "random third", "protein": protein, "method": method, "n_cells": 40,
            "pearson": 0.5, "pearson_lower": 0.4, "pearson_upper": 0.6,
        }
        for protein in NAMES
        for method in ("totalvi", "knn_pca", "knn_latent", "mean")
    ]  # fmt: skip
    values = pd.DataFrame({"held_out": "b", "measured": [0.0, 1.0], "totalvi": [0.5, 1.5]})
    figure = plot_protein_imputation(pd.DataFrame(rows), values, {})
    assert "random third" in figure.axes[0].get_title()
    assert len(figure.axes[0].get_yticks()) == len(NAMES)
    empty = plot_protein_imputation(
        pd.DataFrame(columns=["held_out"]), values, {"imputation_reason": "too few cells"}
    )
    assert "too few cells" in empty.texts[0].get_text()


def test_no_proteins_are_said() -> None:
    umap = pd.DataFrame(np.zeros((40, 2)), index=CELLS)
    assert "no proteins" in plot_protein_umap(umap, table(0), table(1), []).texts[0].get_text()
