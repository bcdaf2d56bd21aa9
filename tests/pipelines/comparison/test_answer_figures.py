"""Figures of how many dimensions are needed and whether correction is."""

from __future__ import annotations

from typing import Any

import pytest

from scvi_downstream.pipelines.comparison.plots_answers import MAX_BATCHES, plot_correction, plot_dimensions


def texts(figure: Any) -> str:
    figure.canvas.draw()
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)


def grid(total: float | None) -> dict[str, Any]:
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
    return {"title": "scvi", "grid": [5, 10, 30], "recommended": 10, "n_cells": 400, "differences": rows}


@pytest.mark.parametrize(("total", "panels"), [(None, 1), (0.6, 2)])
def test_dimensions_are_drawn_with_the_recommended_one(total: float | None, panels: int) -> None:
    figure = plot_dimensions({"grids": [grid(total)], "reason": None})
    assert len(figure.axes) == panels
    drawn = texts(figure)
    assert "recommended: 10" in drawn
    assert "30\n×2" in drawn
    (stars,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert (list(stars.get_xdata()), list(stars.get_ydata())) == ([1], [-0.3])


def test_nothing_to_answer_is_written() -> None:
    assert "several n_latent" in texts(
        plot_dimensions({"grids": [], "reason": "No model with several n_latent."})
    )
    answer = {"batches": [], "sentences": ["obs['batch'] holds one batch."]}
    assert "holds one batch" in texts(plot_correction(answer))


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
    drawn = texts(figure)
    assert "Correction is needed" in drawn
    assert "+0.40 ± 0.02" in drawn
    assert len(figure.axes[0].get_yticks()) == min(n_batches, MAX_BATCHES) + 1
    assert ("15 more batches not drawn" in drawn) is (n_batches == 40)
