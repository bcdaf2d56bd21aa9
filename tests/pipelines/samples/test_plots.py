from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.pipelines.samples.plots import (
    classical_scaling,
    plot_sample_abundance,
    plot_sample_distances,
    plot_sample_expression,
    plot_sample_map,
)
from scvi_downstream.study.defaults import defaults_of

NAMES = [f"donor{i // 2} × {'stim' if i % 2 else 'ctrl'}" for i in range(8)]
POINTS = np.column_stack([np.tile([0.0, 2.0], 4), np.repeat(np.arange(4.0), 2) / 5])

OF_STUDY = (
    AnnData(obs=pd.DataFrame({"condition": pd.Categorical(["ctrl", "stim", "other"])}, index=list("abc"))),
    Keys(condition_key="condition"),
)


@pytest.fixture
def distances() -> pd.DataFrame:
    first, second = np.triu_indices(8, k=1)
    apart = np.linalg.norm(POINTS[first] - POINTS[second], axis=1)
    names = np.array(NAMES)
    table = pd.DataFrame({"sample_1": names[first], "sample_2": names[second], "distance": apart})
    return pd.concat([table.assign(group=group) for group in ("all cells", "T cells")], ignore_index=True)


@pytest.fixture
def clusters() -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "sample": NAMES,
            "condition": ["ctrl", "stim"] * 4,
            "block": [f"donor{i // 2}" for i in range(8)],
            "position": [0, 4, 1, 5, 2, 6, 3, 7],
            "cluster": [1, 2] * 4,
        }
    )
    return pd.concat([rows.assign(group=group) for group in ("all cells", "T cells")], ignore_index=True)


@pytest.fixture
def effects() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": ["all cells", "T cells"],
            "condition": "stim",
            "silhouette": [0.7, np.nan],
            "silhouette_p": [0.01, np.nan],
        }
    )


def test_heat_maps_follow_the_tree(distances: pd.DataFrame, clusters: pd.DataFrame) -> None:
    figure = plot_sample_distances(distances, clusters, *OF_STUDY)
    axes = figure.axes[0]
    assert axes.get_title() == "all cells"
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [NAMES[0], NAMES[2]]
    drawn = axes.images[0].get_array()
    assert drawn[:4, :4].max() < drawn[:4, 4:].min()
    assert np.allclose(drawn, drawn.T)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ctrl", "stim"]


def test_samples_without_conditions_are_named_on_the_map(
    distances: pd.DataFrame, clusters: pd.DataFrame
) -> None:
    bare = clusters.assign(condition=np.nan, block=np.nan)
    none = pd.DataFrame(columns=["group", "condition", "silhouette", "silhouette_p"])
    assert not plot_sample_distances(distances, bare, *OF_STUDY).legends
    texts = [text.get_text() for text in plot_sample_map(distances, bare, none, *OF_STUDY).axes[0].texts]
    assert texts == NAMES


def test_the_map_keeps_distances_and_joins_pairs(
    distances: pd.DataFrame, clusters: pd.DataFrame, effects: pd.DataFrame
) -> None:
    apart = np.linalg.norm(POINTS[:, None] - POINTS[None], axis=-1)
    xy = classical_scaling(apart)
    assert np.allclose(np.linalg.norm(xy[:, None] - xy[None], axis=-1), apart)
    figure = plot_sample_map(distances, clusters, effects, *OF_STUDY)
    assert len(figure.axes[0].lines) == 4
    assert "silhouette 0.70, p = 0.01" in figure.axes[0].get_title()
    assert figure.axes[1].get_title() == "T cells"


def test_genes_are_ringed_where_sums_agree() -> None:
    table = pd.DataFrame(
        {
            "group": np.repeat(["all cells", "T cells"], 3),
            "condition": "stim",
            "reference": "ctrl",
            "gene": ["g1", "g2", "g3"] * 2,
            "symbol": ["ISG15", "IFIT1", "ACTB"] * 2,
            "lfc": [3.0, 2.0, 0.1, 2.5, -2.0, 0.0],
            "share_of_cells": [1.0, 0.8, 0.0, 1.0, 0.7, 0.0],
            "rank": [1, 2, 3, 1, 2, 3],
            "pseudobulk_lfc": [4.0, 2.0, 0.1, np.nan, 1.0, 0.0],
            "pseudobulk_p_adjusted": [0.001, 0.2, 0.9, np.nan, 0.01, 0.9],
        }
    )
    figure = plot_sample_expression(table, defaults_of(SamplesOptions, top_genes=2))
    axes = figure.axes[0]
    assert axes.get_title() == "stim against ctrl"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["ISG15", "IFIT1"]
    assert list(axes.collections[0].get_linewidths()) == [0.9, 0.0, 0.0, 0.0]


def test_abundance_is_drawn_where_there_is_some() -> None:
    cells = pd.Index([f"c{i}" for i in range(50)])
    umap = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), cells, ["UMAP1", "UMAP2"])
    ratios = pd.DataFrame({"stim": np.linspace(-4, 4, 50), "other": np.nan}, index=cells)
    table = pd.DataFrame(
        {
            "group": ["all cells", "T cells", "all cells"],
            "condition": ["stim", "stim", "other"],
            "reference": "ctrl",
            "probability": [0.5, 0.7, np.nan],
            "p_adjusted": [0.8, 0.02, np.nan],
            "reason": [None, None, "too few"],
        }
    )
    figure = plot_sample_abundance(umap, ratios, table)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
        "stim against ctrl",
        "by group (p corrected over groups)",
    ]
    assert {"p = 0.8", "p = 0.02"} <= {text.get_text() for axes in figure.axes for text in axes.texts}


def test_what_cannot_be_drawn_says_why(distances: pd.DataFrame) -> None:
    none = pd.DataFrame(columns=["group", "sample", "condition", "block", "position", "cluster"])
    assert "no group has 4 samples" in plot_sample_distances(distances, none, *OF_STUDY).texts[0].get_text()
    assert "no group has 4 samples" in plot_sample_map(distances, none, none, *OF_STUDY).texts[0].get_text()
    empty = pd.DataFrame(columns=["condition"])
    assert "2 samples each" in plot_sample_expression(empty, defaults_of(SamplesOptions)).texts[0].get_text()
    nothing = pd.DataFrame(index=["c1"])
    assert "2 samples each" in plot_sample_abundance(pd.DataFrame(), nothing, empty).texts[0].get_text()
