"""The table shows what is there, and only that."""

import pytest

from scvi_downstream.pipelines.comparison.nodes import build_leaderboard
from scvi_downstream.plots.leaderboard import plot_leaderboard


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_values_star_gaps_and_reasons_are_written():
    board = build_leaderboard(
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


@pytest.mark.parametrize("n_rows", [1, 20])
def test_text_stays_inside_the_figure(n_rows):
    records = [
        {
            "model": f"a_sweep_with_a_long_name_{i}",
            "scib_total": 0.5 + i / 100,
            "elbo_test": -700.0 - i,
            "seconds": 1.0 + i,
        }
        for i in range(n_rows)
    ]
    figure = plot_leaderboard(
        build_leaderboard(*records), {"model": None, "reason": "no model has any of " + "x, " * 80}
    )
    figure.canvas.draw()
    box = figure.bbox
    for axes in figure.axes:
        for text in axes.texts:
            extent = text.get_window_extent()
            assert extent.x0 >= box.x0 - 1, text.get_text()
            assert extent.x1 <= box.x1 + 1, text.get_text()
            assert extent.y0 >= box.y0 - 1, text.get_text()
            assert extent.y1 <= box.y1 + 1, text.get_text()


def test_a_board_without_numbers_is_drawn():
    figure = plot_leaderboard(
        build_leaderboard({"model": "scvi", "family": "SCVI"}), {"model": None, "reason": None}
    )
    assert "scvi" in texts(figure)
