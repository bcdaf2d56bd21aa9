"""Raw beside denoised, for the genes that were asked for."""

from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.imputation.plots import genes_to_draw, plot_imputation, plot_imputation_scores
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

GENES = [f"g{i}" for i in range(6)]
MARKERS = pd.DataFrame({"group": list("aaabb"), "gene": ["g0", "absent", "g2", "g3", "g0"]})


@pytest.fixture
def counts():
    values = np.random.default_rng(0).poisson(2, size=(40, 6)).astype(np.float32)
    return anndata.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(40)]),
        var=pd.DataFrame(index=GENES),
    )


@pytest.fixture
def expression(counts):
    table = pd.DataFrame(counts.X.toarray() * 10, index=counts.obs_names, columns=GENES)
    return SimpleNamespace(genes=table.columns, cells=table.index, read=lambda genes: table[genes].iloc[::-1])


def test_groups_take_turns_and_genes_are_not_repeated():
    decoded = pd.Index(GENES)
    assert genes_to_draw(decoded, MARKERS, defaults_of(ImputationOptions)) == ["g0", "g3", "g2"]
    assert genes_to_draw(decoded, MARKERS, defaults_of(ImputationOptions, n_figure_genes=2)) == ["g0", "g3"]
    assert genes_to_draw(decoded, MARKERS, defaults_of(ImputationOptions, figure_genes=("g5", "g1"))) == [
        "g5",
        "g1",
    ]
    with pytest.raises(InputError, match="'g9' was not decoded"):
        genes_to_draw(decoded, MARKERS, defaults_of(ImputationOptions, figure_genes=("g9",)))


def test_each_point_has_the_colour_of_its_own_cell(counts, expression):
    xy = np.random.default_rng(1).normal(size=(40, 2))
    umap = pd.DataFrame(xy, index=counts.obs_names, columns=["UMAP1", "UMAP2"])
    figure = plot_imputation(
        counts, expression, umap, MARKERS, defaults_of(ImputationOptions, figure_genes=("g1",))
    )
    raw, denoised = (axes for axes in figure.axes if axes.get_title().startswith("g1"))
    for axes, values in (
        (raw, np.log1p(counts.X.toarray()[:, 1] / counts.X.toarray().sum(axis=1) * 1e4)),
        (denoised, np.log1p(counts.X.toarray()[:, 1] * 10)),
    ):
        drawn = axes.collections[0]
        position = {tuple(point): value for point, value in zip(xy, values, strict=True)}
        expected = [position[tuple(point)] for point in np.asarray(drawn.get_offsets())]
        np.testing.assert_allclose(drawn.get_array(), expected, rtol=1e-5)


def test_no_marker_gives_the_reason_in_place_of_a_figure(counts, expression):
    umap = pd.DataFrame(0.0, index=counts.obs_names, columns=["UMAP1", "UMAP2"])
    figure = plot_imputation(counts, expression, umap, MARKERS.iloc[:0], defaults_of(ImputationOptions))
    assert "No marker gene" in figure.texts[0].get_text()


def test_scores_are_drawn_with_their_verdict():
    interval = {"value": 0.4, "low": 0.3, "high": 0.5}
    scores = {
        "methods": {
            "model": {"poisson_nll": interval, "pearson": interval},
            "gene_mean": {"poisson_nll": interval, "pearson": None},
            "knn_smoothing": {"poisson_nll": interval, "pearson": interval},
        },
        "best_baseline": "gene_mean",
        "verdict": "the model predicts as well",
        "cells": "test",
        "n_cells": 70,
    }
    by_gene = pd.DataFrame(
        {
            "gene": GENES,
            "mean_held_out": 1.0,
            "pearson_model": 0.3,
            "pearson_gene_mean": np.nan,
            "pearson_knn_smoothing": 0.2,
        }
    )
    figure = plot_imputation_scores(scores, by_gene)
    assert figure.get_suptitle() == "The model predicts as well (70 test cells)"
    assert "100 % of 6 genes above the line" in [axes.get_title() for axes in figure.axes]
