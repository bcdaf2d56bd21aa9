"""The order of the board, and the rule for the champion."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.errors import InputError
from scvi_downstream.parameters import ChampionRule, ComparisonOptions
from scvi_downstream.pipelines.comparison.nodes import build_leaderboard, choose_champion

SCVI = {"model": "scvi", "family": "SCVI", "scib_total": 0.70, "elbo_test": -700.0, "seconds": 40.0}
LDVAE = {"model": "ldvae", "family": "LinearSCVI", "scib_total": 0.69, "elbo_test": -800.0, "seconds": 20.0}
SCANVI = {"model": "scanvi", "family": "SCANVI", "scib_total": 0.80, "elbo_test": -710.0, "seconds": 60.0}
PCA = {"model": "pca", "family": "PCA", "scib_total": 0.75, "seconds": 0.2}


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def champion(*records, **rule):
    return choose_champion(build_leaderboard(*records), ComparisonOptions(champion=ChampionRule(**rule)))


def test_best_first_with_nan_where_a_metric_does_not_exist():
    board = build_leaderboard(LDVAE, PCA, SCVI)
    assert list(board.index) == ["pca", "scvi", "ldvae"]
    assert board.index.name == "model"
    assert np.isnan(board.loc["pca", "elbo_test"])
    assert list(board.columns) == ["family", "scib_total", "elbo_test", "seconds"]


def test_order_of_columns_does_not_depend_on_the_order_of_records():
    records = [SCVI | {"left_out": "why", "novel": 1.0}, PCA, LDVAE | {"scib_clisi": 0.9}]
    board = build_leaderboard(*records)
    pd.testing.assert_frame_equal(board, build_leaderboard(*reversed(records)))
    assert list(board.columns) == [
        "family",
        "scib_total",
        "scib_clisi",
        "elbo_test",
        "seconds",
        "novel",
        "left_out",
    ]


def test_without_integration_scores_the_held_out_elbo_decides():
    board = build_leaderboard(*(without(record, "scib_total") for record in (LDVAE, SCVI, PCA)))
    assert list(board.index) == ["scvi", "ldvae", "pca"]
    chosen = choose_champion(board, ComparisonOptions())
    assert (chosen["model"], chosen["criterion"], chosen["value"]) == ("scvi", "elbo_test", -700.0)
    assert chosen["runner_up"] == "ldvae"


def test_a_better_baseline_is_named_but_is_not_champion():
    chosen = champion(SCVI, PCA, LDVAE)
    assert chosen["model"] == "scvi"
    assert chosen["better_baseline"] == "pca"
    assert "The baseline pca is better (0.75)" in chosen["reason"]
    assert "baseline" not in champion(SCVI, LDVAE)["reason"]


def test_ties_go_to_the_tie_breaker():
    assert champion(SCVI, LDVAE)["model"] == "scvi"
    tied = champion(SCVI, LDVAE, within=0.02)
    assert tied["model"] == "ldvae"
    assert tied["runner_up"] == "scvi"
    assert "lowest seconds" in tied["reason"]
    assert champion(SCVI, LDVAE | {"scib_total": 0.70})["model"] == "ldvae"


def test_lower_is_better_where_it_is():
    assert champion(SCVI, LDVAE, criteria=("seconds",))["model"] == "ldvae"


def test_criteria_that_no_model_has_are_passed_over():
    chosen = champion(SCVI, LDVAE, criteria=("scib_bio_conservation", "elbo_test"))
    assert chosen["criterion"] == "elbo_test"
    nobody = champion(without(SCVI, "scib_total", "elbo_test"), PCA)
    assert nobody["model"] is None
    assert "no model has any of" in nobody["reason"]


def test_training_on_the_labels_is_said():
    assert "trained on the labels" in champion(SCVI, SCANVI)["reason"]
    assert "trained on the labels" not in champion(SCVI, SCANVI, criteria=("elbo_test",))["reason"]


@pytest.mark.parametrize(
    ("rule", "name"), [({"criteria": ("scib_totl",)}, "scib_total"), ({"tie_breaker": "second"}, "seconds")]
)
def test_misspelt_columns_are_refused_with_the_closest(rule, name):
    with pytest.raises(InputError, match=f"the closest is '{name}'"):
        champion(SCVI, LDVAE, **rule)


def test_a_board_read_back_from_a_file_gives_the_same_champion():
    board = build_leaderboard(SCVI, LDVAE, PCA)
    assert choose_champion(board.reset_index(), ComparisonOptions()) == choose_champion(
        board, ComparisonOptions()
    )
