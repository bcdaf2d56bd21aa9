from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.plots import (
    plot_prediction_changes,
    plot_prediction_genes,
    plot_prediction_scores,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIONS = defaults_of(PredictionOptions)
METHODS = ("scvi", "mrvi", "mean_shift", "target_mean", "no_change")
UNCHANGED = ("scvi_unchanged", "mrvi_unchanged")


def _drawn(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _expression(n_responding: int, groups: tuple[str, ...] = ("A", "B", "C", "D", "E")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = []
    for i, group in enumerate(groups):
        change = np.concatenate([np.linspace(4, 2, 10), rng.normal(0, 0.1, 40)])
        table = pd.DataFrame(
            {
                "target": "stim",
                "group": group,
                "gene": [f"ENSG{j}" for j in range(50)],
                "symbol": [f"S{j}" for j in range(50)],
                "source": 1.0,
                "measured": 1 + change,
                "measured_lower": 0.8 + change,
                "measured_upper": 1.2 + change,
                "change": change,
                "responds": np.arange(50) < n_responding + (i if n_responding else 0),
            }
        )
        table["predictor"] = "mean_shift"
        for method in METHODS:
            predicted = 0.0 * change if method == "no_change" else change + rng.normal(0, 0.3, 50)
            table[method], table[f"{method}_change"] = 1 + predicted, predicted
            table[f"{method}_lower"], table[f"{method}_upper"] = 0.9 + predicted, 1.1 + predicted
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _scores(groups: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        (group, method, score, 0.1 * i + 0.01 * j)
        for j, group in enumerate((*groups, "all groups"))
        for i, method in enumerate((*METHODS, *UNCHANGED))
        for score in ("delta_pearson", "delta_pearson_top", "explained", "rmse_top")
        if not (method in ("no_change", *UNCHANGED) and score.startswith("delta"))
    ]
    table = pd.DataFrame(rows, columns=["group", "method", "score", "value"]).assign(target="stim")
    return table.assign(ci_lower=table["value"] - 0.05, ci_upper=table["value"] + 0.05)


@pytest.mark.thorough
@pytest.mark.parametrize("n_groups", [1, 15])
def test_scores_of_every_method_and_type(n_groups: int) -> None:
    names = tuple(f"type {i}" for i in range(n_groups))
    groups = pd.DataFrame({"target": "stim", "group": names, "n_target": range(20, 20 + n_groups)})
    figure = plot_prediction_scores(_scores(names), groups, AnnData(), Keys())
    texts = _drawn(figure)
    assert {"scVI", "MrVI", "mean shift", "no change", "mean of all types"} <= set(texts)
    assert texts.count("undefined") == 6
    assert any("3 smaller types not drawn" in text for text in texts) == (n_groups == 15)
    points = figure.axes[0].lines[0].get_xdata()
    overall = _scores(names).query("group == 'all groups' and score == 'delta_pearson'")
    np.testing.assert_allclose(sorted(points), sorted(overall["value"]))


@pytest.mark.thorough
def test_changes_as_delivered_and_of_the_best_model() -> None:
    expression, scores = _expression(5), _scores(("A",))
    figure = plot_prediction_changes(expression, scores)
    texts = _drawn(figure)
    assert "MrVI: predicted change" in texts  # the higher correlation
    assert figure.axes[0].get_ylabel() == "mean shift: predicted change"  # what is delivered comes first
    assert [axes.get_title() for axes in figure.axes[:3]] == ["E, stim", "D, stim", "C, stim"]
    assert "S0" in texts
    offsets = np.concatenate([points.get_offsets() for points in figure.axes[0].collections])
    assert len(offsets) == 50
    assert "no change to predict" in _drawn(plot_prediction_changes(_expression(0), scores))[0]


def test_named_and_responding_genes() -> None:
    from matplotlib.container import BarContainer

    expression = _expression(5)
    figure = plot_prediction_genes(expression, OPTIONS)
    axes = figure.axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"S{i}" for i in range(8)]
    bars = [container for container in axes.containers if isinstance(container, BarContainer)]
    heights = [bar.get_height() for bar in bars[1]]
    np.testing.assert_allclose(heights, 1 + np.linspace(4, 2, 10)[:8])
    assert len(figure.axes) == 4
    named = plot_prediction_genes(expression, defaults_of(PredictionOptions, genes=("S40", "ENSG3")))
    assert [label.get_text() for label in named.axes[-1].get_xticklabels()] == ["S40", "S3"]
    with pytest.raises(
        InputError, match=r"prediction.genes: 'S4O' is not among the modelled genes; the closest is"
    ):
        plot_prediction_genes(expression, defaults_of(PredictionOptions, genes=("S4O",)))
    assert "name some" in _drawn(plot_prediction_genes(_expression(0), OPTIONS))[0]
