"""Figures of a search are drawn for whatever trials there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.search.plots import plot_search, plot_search_options


def search(
    n: int, objectives: list[str], n_bad: int = 0
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    rng = np.random.default_rng(0)
    status = ["finished"] * (n - n_bad) + ["stopped", "failed"] * n_bad
    status = status[:n]
    elbo = rng.normal(-600, 10, n)
    table = pd.DataFrame(
        {
            "status": status,
            "n_latent": rng.choice([5, 10, 20], n),
            "training.lr": 10 ** rng.uniform(-4, -2, n),
            "gene_likelihood": rng.choice(["zinb", "nb"], n),
            "elbo_validation": np.where(np.array(status) == "failed", np.nan, elbo),
            "scib_total": np.where(np.array(status) == "finished", rng.uniform(0.5, 0.7, n), np.nan),
            "n_parameters": rng.integers(1000, 9000, n),
            "pareto": [True] + [False] * (n - 1),
            "recommended": [True] + [False] * (n - 1),
        },
        index=pd.Index([f"scvi_search_{number + 1:03d}" for number in range(n)], name="trial"),
    )
    curves = [
        [] if one == "failed" else list(elbo[at] - 100 / np.arange(1, 40)) for at, one in enumerate(status)
    ]
    records = {
        "trials": [{"number": at + 1, "status": one, "curve": curves[at]} for at, one in enumerate(status)]
    }
    effects = [{"option": "n_latent", "kind": "continuous", "rho": 0.5, "eta2": None, "p_adjusted": 0.0}]
    summary = {
        "model": "scvi",
        "objectives": objectives,
        "options": ["n_latent", "training.lr", "gene_likelihood"],
        "option_effects": effects,
    }
    return records, table, summary


@pytest.mark.parametrize(
    "objectives", [["elbo_validation"], ["elbo_validation", "scib_total"], ["scib_total"]]
)
@pytest.mark.parametrize(("n", "n_bad"), [(1, 0), (12, 3)])
def test_course_and_front_are_drawn(objectives: list[str], n: int, n_bad: int) -> None:
    records, table, summary = search(n, objectives, n_bad)
    figure = plot_search(records, table, summary)
    trainings, course, trade = figure.axes
    assert (
        len([line for line in trainings.lines if len(line.get_xdata()) > 1])
        == (table["status"] != "failed").sum()
    )
    low, high = course.get_ylim()
    finished = table.loc[table["status"] == "finished", objectives[0]]
    assert low < finished.min() <= finished.max() < high
    assert trade.get_xlabel().startswith("scIB total" if len(objectives) > 1 else "parameters")
    figure.canvas.draw()


def test_best_so_far_never_falls() -> None:
    records, table, summary = search(12, ["elbo_validation"], 3)
    steps = plot_search(records, table, summary).axes[1].lines[0].get_ydata()
    assert (np.diff(np.asarray(steps)[np.isfinite(steps)]) >= 0).all()


def test_every_option_has_a_panel_with_what_is_known_of_it() -> None:
    _, table, summary = search(12, ["elbo_validation"], 3)
    figure = plot_search_options(table, summary)
    assert [axes.get_xlabel() for axes in figure.axes] == summary["options"]
    assert figure.axes[0].get_title() == "ρ +0.50, adjusted p < 0.0001"
    assert figure.axes[1].get_xscale() == "log"
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["nb", "zinb"]
    figure.canvas.draw()
