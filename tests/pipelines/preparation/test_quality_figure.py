from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.preparation.options import CellFilters, PreparationOptions
from scvi_downstream.pipelines.preparation.plots import MOST_BATCHES, plot_quality

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


def test_histograms_hold_every_cell() -> None:
    figure = plot_quality(quality(0), SUMMARY, PreparationOptions())
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == 400
        assert axes.get_xlabel()
    assert figure.get_suptitle() == "400 of 420 cells and 900 of 1,000 genes kept"


def test_a_box_per_batch_in_their_order() -> None:
    figure = plot_quality(quality(3), SUMMARY, PreparationOptions())
    labels = [label.get_text() for label in figure.axes[3].get_yticklabels()]
    assert labels == ["batch 0 (134)", "batch 1 (133)", "batch 2 (133)"]


def test_thresholds_are_drawn_where_they_are_set() -> None:
    options = PreparationOptions(filters=CellFilters(min_counts=500, max_mitochondrial_percent=12))
    figure = plot_quality(quality(0), SUMMARY, options)
    drawn = [[float(line.get_xdata()[0]) for line in axes.lines] for axes in figure.axes]
    assert drawn == [[500.0], [], [12.0]]


def test_only_the_largest_of_many_batches() -> None:
    figure = plot_quality(quality(60), SUMMARY, PreparationOptions())
    assert len(figure.axes[3].get_yticks()) == MOST_BATCHES
    assert f"the {MOST_BATCHES} largest of 60 batches" in figure.get_suptitle()


def test_missing_mitochondrial_genes_are_said() -> None:
    figure = plot_quality(quality(2).assign(mitochondrial_percent=np.nan), SUMMARY, PreparationOptions())
    assert "no mitochondrial genes" in figure.axes[2].texts[0].get_text()


def test_identical_cells_can_be_drawn() -> None:
    table = quality(0).assign(n_counts=100, mitochondrial_percent=0.0)
    figure = plot_quality(table, SUMMARY, PreparationOptions())
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 400
    assert sum(bar.get_height() for bar in figure.axes[2].patches) == 400
