"""The figures show what is there, and only that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.comparison.leaderboard import build_leaderboard
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.comparison.plots import (
    MAX_BATCHES,
    plot_correction,
    plot_dimensions,
    plot_leaderboard,
    plot_pareto,
)
from scvi_downstream.pipelines.comparison.report import choose_champion
from scvi_downstream.study.defaults import defaults_of


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def board_of(*records, **evidence):
    scores = {f"{record['model']}__scores": record for record in records}
    return build_leaderboard(defaults_of(ComparisonOptions), None, **scores, **evidence)


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


@pytest.mark.thorough
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


def figure_of(*records, **evidence):
    scores = {f"{record['model']}__scores": record for record in records}
    board = build_leaderboard(defaults_of(ComparisonOptions), None, **scores, **evidence)
    return plot_pareto(board, choose_champion(board, defaults_of(ComparisonOptions), **evidence))


def legend(figure):
    return {text.get_text() for text in figure.axes[0].get_legend().get_texts()}


SCVI = {"model": "scvi", "family": "SCVI", "scib_total": 0.7, "seconds": 40.0}
SLOW = {"model": "slow", "family": "SCVI", "scib_total": 0.6, "seconds": 90.0}
SCANVI = {"model": "scanvi", "family": "SCANVI", "scib_total": 0.8, "seconds": 60.0}
PCA = {"model": "pca", "family": "PCA", "scib_total": 0.5, "seconds": 0.2}


def test_front_and_kinds_are_drawn():
    figure = figure_of(SCVI, SLOW, SCANVI, PCA)
    front = next(line for line in figure.axes[0].lines if line.get_label() == "Pareto front")
    assert front.get_xydata().tolist() == [[0.2, 0.5], [40.0, 0.7], [60.0, 0.8]]
    assert legend(figure) == {"Pareto front", "model", "baseline", "trained on the labels", "champion"}
    assert {text.get_text() for text in figure.axes[0].texts} == {"scvi", "slow", "scanvi", "pca"}


def test_lines_are_the_paired_difference_not_the_spread_of_cells():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(-500, 80, 100), rng.normal(1, 2, 100)
    index = pd.Index([f"c{i}" for i in range(100)], name="cell")
    tables = {
        "scvi": pd.DataFrame({"share": "test", "elbo": shared}, index=index),
        "slow": pd.DataFrame({"share": "test", "elbo": shared - own}, index=index),
    }
    records = [
        {"model": name, "family": "SCVI", "elbo_test": table["elbo"].mean(), "seconds": 9.0}
        for name, table in tables.items()
    ]
    figure = figure_of(*records, **{f"{name}__cell_likelihood": table for name, table in tables.items()})
    lengths = [np.ptp(path.vertices[:, 1]) for path in figure.axes[0].collections[0].get_paths()]
    assert min(lengths) == 0
    assert 0.5 < max(lengths) < 1.2


def test_names_do_not_overlap():
    rng = np.random.default_rng(0)
    records = [
        {
            "model": f"scvi_latent{i}_layers1",
            "scib_total": rng.uniform(0.6, 0.61),
            "seconds": rng.uniform(9, 11),
        }
        for i in range(30)
    ]
    figure = figure_of(*records)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 5
    inner = [box.padded(-1) for box in boxes]
    assert not any(one.overlaps(other) for i, one in enumerate(inner) for other in inner[:i])


def test_nothing_to_draw_is_said():
    figure = figure_of({"model": "scvi", "family": "SCVI", "seconds": 3.0})
    assert "no criterion" in figure.texts[0].get_text()


def drawn_text(figure: Any) -> str:
    figure.canvas.draw()
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)


def grid_answer(total: float | None) -> dict[str, Any]:
    rows = [
        {
            "n_latent": value,
            "models": [f"scvi_latent{value}"],
            "trainings": trainings,
            "elbo": -500 - behind,
            "behind_best": {"value": behind, "standard_error": 0.5, "low": behind - 1, "high": behind + 1},
            "within_noise": behind < 0.5,
            "scib_total": total,
        }
        for value, behind, trainings in ((5, 12.0, 1), (10, 0.3, 1), (30, 0.0, 2))
    ]
    return {
        "title": "scvi",
        "grid": [5, 10, 30],
        "recommended": 10,
        "n_cells": 400,
        "differences": rows,
    }


@pytest.mark.parametrize(("total", "panels"), [(None, 1), (0.6, 2)])
def test_dimensions_are_drawn_with_the_recommended_one(total: float | None, panels: int) -> None:
    figure = plot_dimensions({"grids": [grid_answer(total)], "reason": None})
    assert len(figure.axes) == panels
    drawn = drawn_text(figure)
    assert "recommended: 10" in drawn
    assert "30\n×2" in drawn
    (stars,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert (list(stars.get_xdata()), list(stars.get_ydata())) == ([1], [-0.3])


def test_nothing_to_answer_is_written() -> None:
    assert "several n_latent" in drawn_text(
        plot_dimensions({"grids": [], "reason": "No model with several n_latent."})
    )
    answer = {"batches": [], "sentences": ["obs['batch'] holds one batch."]}
    assert "holds one batch" in drawn_text(plot_correction(answer))


def excess(name: str, share: float, p: float) -> dict[str, Any]:
    return {
        "cells": name, "n_cells": 100, "share": share, "expected": 0.3, "expected_low": 0.27,
        "expected_high": 0.33, "effect": (share - 0.3) / 0.7, "p": p,
    }  # fmt: skip


@pytest.mark.parametrize("n_batches", [2, 40])
def test_batches_beyond_chance_are_filled_and_many_are_cut(n_batches: int) -> None:
    rows = [excess("overall", 0.6, 0.002), *(excess(f"donor {i}", 0.31, 0.8) for i in range(n_batches))]
    difference = {"value": 0.4, "standard_error": 0.02, "low": 0.36, "high": 0.44}
    correction = {
        "needed": True, "p": 0.002, "effect": 0.43, "permuted_within": "cell_type", "batches": rows,
        "sentences": ["Batches lie apart."],
        "mixing": {"model": "scvi", "batch": 0.7, "batch_uncorrected": 0.3, "batch_difference": difference,
                   "bio": None, "bio_uncorrected": None, "bio_difference": None},
    }  # fmt: skip
    figure = plot_correction(correction)
    drawn = drawn_text(figure)
    assert "Correction is needed" in drawn
    assert "+0.40 ± 0.02" in drawn
    assert len(figure.axes[0].get_yticks()) == min(n_batches, MAX_BATCHES) + 1
    assert ("15 more batches not drawn" in drawn) is (n_batches == 40)
