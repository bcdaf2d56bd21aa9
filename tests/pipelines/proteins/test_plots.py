"""Figures of proteins hold what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.proteins.plots import (
    choose_proteins,
    plot_protein_distributions,
    plot_protein_imputation,
    plot_protein_markers,
    plot_protein_umap,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import simulate

CELLS = pd.Index([f"c{i}" for i in range(40)])
NAMES = ["CD3", "CD19", "CD4", "CD8", "CD14"]


def table(seed: int, *, most: float = 50.0) -> pd.DataFrame:
    values = np.random.default_rng(seed).uniform(0, most, (len(CELLS), len(NAMES)))
    return pd.DataFrame(np.floor(values) if most > 1 else values, index=CELLS, columns=NAMES)


def counts_with(proteins: pd.DataFrame) -> AnnData:
    counts = AnnData(np.zeros((len(CELLS), 1)), obs=pd.DataFrame(index=CELLS))
    counts.obsm["protein_expression"] = proteins
    return counts


def drawing(*names: str) -> ProteinsOptions:
    return defaults_of(ProteinsOptions, proteins=names)


NO_MARKERS = pd.DataFrame({"protein": [], "lfc_median": []})


def test_two_panels_a_protein_and_grey_where_not_measured() -> None:
    proteins = table(0)
    proteins.iloc[:10] = 0
    umap = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 2)), index=CELLS)
    figure = plot_protein_umap(umap, counts_with(proteins), table(2), NO_MARKERS, drawing("CD3", "CD4"))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["CD3: counted", "CD3: denoised", "CD4: counted", "CD4: denoised"]
    counted, denoised = figure.axes[:2]
    assert sorted(len(points.get_offsets()) for points in counted.collections) == [10, 30]
    assert [len(points.get_offsets()) for points in denoised.collections] == [40]


def test_dots_are_groups_by_proteins() -> None:
    counts = counts_with(table(0))
    counts.obs["type"] = ["x"] * 10 + ["y"] * 30
    arguments = (table(0), table(1, most=1), NO_MARKERS, Keys(label_key="type"), drawing(*NAMES[:3]))
    figure = plot_protein_markers(counts, pd.DataFrame(), *arguments)
    assert len(figure.axes[0].collections[0].get_offsets()) == 6
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["x", "y"]


def test_every_measured_cell_is_counted() -> None:
    proteins = table(0)
    proteins.iloc[:10] = 0
    figure = plot_protein_distributions(
        counts_with(proteins), table(1), table(2, most=1), NO_MARKERS, drawing("CD3")
    )
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
    assert (
        "no proteins"
        in plot_protein_umap(umap, counts_with(table(0)[[]]), table(1), NO_MARKERS, drawing())
        .texts[0]
        .get_text()
    )


def test_proteins_to_draw_are_those_named_or_the_strongest() -> None:
    counts = simulate(30)
    markers = pd.DataFrame({"protein": ["CD19", "CD3", "CD19"], "lfc_median": [1.0, 2.0, 3.0]})
    assert choose_proteins(markers, counts, defaults_of(ProteinsOptions, top_proteins=2)) == ["CD19", "CD3"]
    assert choose_proteins(markers.iloc[:0], counts, defaults_of(ProteinsOptions, top_proteins=3)) == [
        "CD3",
        "CD4",
        "CD19",
    ]
    assert choose_proteins(markers, counts, defaults_of(ProteinsOptions, proteins=("IgG1",))) == ["IgG1"]
    with pytest.raises(InputError, match="no protein 'CD33'; the closest is 'CD3'"):
        choose_proteins(markers, counts, defaults_of(ProteinsOptions, proteins=("CD33",)))
