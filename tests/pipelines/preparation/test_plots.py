from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.preparation.plots import (
    MOST_BATCHES,
    N_GENES_NAMED,
    plot_highly_variable,
    plot_quality,
)
from scvi_downstream.study.defaults import defaults_of

SUMMARY: dict[str, Any] = {"n_cells": 400, "n_cells_raw": 420, "n_genes": 900, "n_genes_raw": 1000}


def quality(n_batches: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "n_counts": random.lognormal(8, 0.5, size=400).astype(int),
            "n_genes": random.lognormal(7, 0.3, size=400).astype(int),
            "mitochondrial_percent": random.gamma(2, 2, size=400),
        }
    )
    if n_batches:
        table["batch"] = pd.Categorical([f"batch {i % n_batches}" for i in range(400)])
    return table


@pytest.mark.thorough
def test_histograms_hold_every_cell() -> None:
    figure = plot_quality(quality(0), SUMMARY, defaults_of(PreparationOptions))
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == 400
        assert axes.get_xlabel()
    assert figure.get_suptitle() == "400 of 420 cells and 900 of 1,000 genes kept"


def test_a_box_per_batch_in_their_order() -> None:
    figure = plot_quality(quality(3), SUMMARY, defaults_of(PreparationOptions))
    labels = [label.get_text() for label in figure.axes[3].get_yticklabels()]
    assert labels == ["batch 0 (134)", "batch 1 (133)", "batch 2 (133)"]


def test_thresholds_are_drawn_where_they_are_set() -> None:
    options = defaults_of(PreparationOptions, filters={"min_counts": 500, "max_mitochondrial_percent": 12})
    figure = plot_quality(quality(0), SUMMARY, options)
    drawn = [[float(line.get_xdata()[0]) for line in axes.lines] for axes in figure.axes]
    assert drawn == [[500.0], [], [12.0]]


def test_only_the_largest_of_many_batches() -> None:
    figure = plot_quality(quality(60), SUMMARY, defaults_of(PreparationOptions))
    assert len(figure.axes[3].get_yticks()) == MOST_BATCHES
    assert f"the {MOST_BATCHES} largest of 60 batches" in figure.get_suptitle()


def test_missing_mitochondrial_genes_are_said() -> None:
    figure = plot_quality(
        quality(2).assign(mitochondrial_percent=np.nan), SUMMARY, defaults_of(PreparationOptions)
    )
    assert "no mitochondrial genes" in figure.axes[2].texts[0].get_text()


def test_identical_cells_can_be_drawn() -> None:
    table = quality(0).assign(n_counts=100, mitochondrial_percent=0.0)
    figure = plot_quality(table, SUMMARY, defaults_of(PreparationOptions))
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 400
    assert sum(bar.get_height() for bar in figure.axes[2].patches) == 400


def test_every_gene_is_drawn_and_the_first_are_named(pbmc_counts: ad.AnnData) -> None:
    axes = plot_highly_variable(pbmc_counts).axes[0]
    assert sorted(len(points.get_offsets()) for points in axes.collections) == [300, 465]
    first = pbmc_counts.var.nsmallest(N_GENES_NAMED, "highly_variable_rank").index
    written = {text.get_text() for text in axes.texts}
    assert written <= set(first)
    assert len(written) >= N_GENES_NAMED // 2
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_symbols_are_shown_instead_of_identifiers(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(symbol="symbol of " + pbmc_counts.var_names))
    assert all(
        text.get_text().startswith("symbol of ") for text in plot_highly_variable(counts).axes[0].texts
    )


def test_all_genes_highly_variable_leaves_no_other_in_the_legend(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(highly_variable=True))
    legend = plot_highly_variable(counts).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["highly variable (765)"]


def test_without_a_trend_the_figure_says_so(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(variances_norm=np.nan))
    assert "no mean-variance trend" in plot_highly_variable(counts).axes[0].texts[0].get_text()


@pytest.mark.parametrize(("low", "high", "expected"), [(200, 2000, "500"), (0.01, 1000, "1k")])
def test_log_ticks_are_plain_numbers(low: float, high: float, expected: str) -> None:
    from scvi_downstream.plots.style import new_figure, plain_log_ticks

    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.set(xscale="log", xlim=(low, high))
    plain_log_ticks(axes.xaxis)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert expected in labels
    assert not any("10^" in label for label in labels)
