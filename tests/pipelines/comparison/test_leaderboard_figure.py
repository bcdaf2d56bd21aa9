"""The table shows what is there, and only that."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.comparison.nodes import build_leaderboard
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.comparison.plots import plot_leaderboard


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def board_of(*records, **evidence):
    scores = {f"{record['model']}__scores": record for record in records}
    return build_leaderboard(ComparisonOptions(), None, **scores, **evidence)


def assert_text_inside(figure):
    figure.canvas.draw()
    box = figure.bbox
    for axes in figure.axes:
        for text in axes.texts:
            extent = text.get_window_extent()
            assert extent.x0 >= box.x0 - 1, text.get_text()
            assert extent.x1 <= box.x1 + 1, text.get_text()
            assert extent.y0 >= box.y0 - 1, text.get_text()
            assert extent.y1 <= box.y1 + 1, text.get_text()


def test_values_star_gaps_and_reasons_are_written():
    board = board_of(
        {
            "model": "scvi",
            "scib_total": 0.71,
            "scib_clisi": 0.95,
            "elbo_test": -700.26,
            "seconds": 40.0,
            "left_out": "no batch_key: ilisi",
        },
        {"model": "pca", "scib_total": 0.62, "scib_clisi": 0.91, "seconds": 0.2},
    )
    written = texts(plot_leaderboard(board, {"model": "scvi", "reason": "it is best"}))
    assert {"★ scvi", "pca", "0.71", "0.95", "−700.3", "–", "40", "0.2", "★ it is best"} <= set(written)
    assert "Left out: no batch_key: ilisi" in written
    assert "iLISI" not in written


def test_intervals_are_written_and_drawn():
    values = np.random.default_rng(0).normal(-700, 50, 50)
    cells = pd.DataFrame({"share": "test", "elbo": values}, index=[f"c{i}" for i in range(50)])
    board = board_of(
        {"model": "scvi", "scib_total": 0.7, "elbo_test": values.mean()},
        {"model": "pca", "scib_total": 0.6},
        scvi__score_draws=pd.DataFrame({"scib_total": np.linspace(0.6, 0.8, 201)}),
        scvi__cell_likelihood=cells,
    )
    figure = plot_leaderboard(board, {"model": "scvi", "reason": "it is best"})
    assert "0.70 ± 0.10" in texts(figure)
    assert "0.60" in texts(figure)
    assert any(text.startswith("−") and " ± " in text for text in texts(figure))
    intervals = [line for line in figure.axes[0].lines if line.get_gid() == "interval"]
    assert len(intervals) == 1


def test_failed_trials_say_why_and_baselines_are_slanted():
    board = board_of(
        {"model": "scvi", "scib_total": 0.7},
        {"model": "pca", "scib_total": 0.6},
        {"model": "scvi_lr9", "failed": "the loss became NaN " * 20},
    )
    figure = plot_leaderboard(board, {"model": "scvi", "reason": "it is best"})
    assert any(text.startswith("failed: the loss") and text.endswith("…") for text in texts(figure))
    styles = {text.get_text(): text.get_style() for text in figure.axes[0].texts}
    assert (styles["pca"], styles["★ scvi"]) == ("italic", "normal")
    assert_text_inside(figure)


@pytest.mark.parametrize("n_rows", [1, 20, 60])
def test_text_stays_inside_the_figure(n_rows):
    records = [
        {
            "model": f"a_sweep_with_a_long_name_{i}",
            "scib_total": 0.5 + i / 200,
            "elbo_test": -700.0 - i,
            "seconds": 1.0 + i,
        }
        for i in range(n_rows)
    ]
    last = records[0]["model"]
    figure = plot_leaderboard(
        board_of(*records), {"model": last, "reason": "no model has any of " + "x, " * 80}
    )
    assert_text_inside(figure)
    assert f"★ {last}" in texts(figure)
    assert any("The first 41 of 60 rows" in text for text in texts(figure)) == (n_rows == 60)


def test_a_board_without_numbers_is_drawn():
    figure = plot_leaderboard(board_of({"model": "scvi", "family": "SCVI"}), {"model": None, "reason": None})
    assert "scvi" in texts(figure)
