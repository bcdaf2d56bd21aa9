from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.cross_validation.plots import (
    MAX_BATCHES,
    plot_cross_validation,
    plot_fold_curves,
)


def scores(n_batches: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    folds = pd.DataFrame(
        {
            "held_out_by": "fold",
            "held_out": [str(k) for k in range(1, 6)],
            "elbo": rng.normal(-600, 5, 5),
            "elbo_se": 4.0,
            "marginal_ll": rng.normal(-595, 5, 5),
            "marginal_ll_se": 4.0,
            "elbo_train": rng.normal(-560, 5, 5),
        }
    )
    cost = rng.gamma(2, 10, n_batches)
    batches = pd.DataFrame(
        {
            "held_out_by": "batch",
            "held_out": [f"donor {i}" for i in range(n_batches)],
            "n_held_out": 100,
            "cost": cost,
            "cost_low": cost - 3,
            "cost_high": cost + 3,
        }
    )
    return pd.concat([folds, batches], ignore_index=True) if n_batches else folds


def summary(n_batches: int) -> dict:
    mean = {"value": -600.0, "low": -606.0, "high": -594.0}
    return {
        "model": "mine",
        "family": "SCVI",
        "elbo": mean,
        "marginal_ll": mean,
        "gap": {"value": 40.0},
        "gap_share": 0.066,
        "unseen_batches": {"n": n_batches, "cost": {"value": 20.0, "low": 12.0, "high": 28.0}},
    }


def test_folds_and_batches_are_drawn_with_units() -> None:
    figure = plot_cross_validation(scores(4), summary(4))
    assert "mine (SCVI)" in figure.get_suptitle()
    elbo, marginal, cost = figure.axes
    assert "nats per cell" in elbo.get_ylabel()
    assert "marginal" in marginal.get_ylabel()
    assert "nats per cell" in cost.get_xlabel()
    ordered = scores(4).dropna(subset="cost").sort_values("cost", ascending=False)["held_out"]
    assert [text.get_text() for text in cost.get_yticklabels()] == [f"{name} (100)" for name in ordered]


def test_many_batches_are_cut_to_the_worst_and_said_to_be() -> None:
    figure = plot_cross_validation(scores(40), summary(40))
    cost = figure.axes[-1]
    assert len(cost.get_yticks()) == MAX_BATCHES
    assert "10 of least cost not drawn" in cost.get_ylabel()


def test_without_batches_or_marginal_likelihood_their_panels_are_left_out() -> None:
    without = scores(0).assign(marginal_ll=np.nan)
    assert len(plot_cross_validation(without, summary(0)).axes) == 1
    nothing = without.assign(elbo=np.nan)
    assert "likelihood" in plot_cross_validation(nothing, summary(0)).texts[0].get_text()


def test_curves_of_all_folds_are_drawn_with_the_kept_epochs_and_the_gap() -> None:
    epochs = np.linspace(0, 5, 50)
    trainings = {
        f"training_{k}": {
            "best_epoch": 30 + k,
            "curves": {"elbo_train": (600 - 9 * epochs).tolist(), "elbo_validation": (620 - epochs).tolist()},
        }
        for k in range(1, 6)
    }
    figure = plot_fold_curves(scores(0), summary(0), **trainings)
    left, right = figure.axes
    assert len(left.lines) == 15
    assert {31, 32, 33, 34, 35} <= {line.get_xdata()[0] for line in left.lines}
    assert "40.0 nats (6.6 %)" in right.get_title()
    assert "curves" in plot_fold_curves(scores(0), summary(0), training_1={"curves": {}}).texts[0].get_text()
