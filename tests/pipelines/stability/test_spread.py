from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.stability.comparison import (
    linear_cka,
    mean_over_pairs,
    nearest_cells,
    recurrence,
    shared_neighbors,
)
from scvi_downstream.pipelines.stability.fits import SeedFit, spread_of_scores

NOTHING = pd.DataFrame()


def fits_with(values: np.ndarray, cell_sd: float) -> list[SeedFit]:
    random = np.random.default_rng(1)
    return [
        SeedFit(
            f"seed{i}",
            {
                "elbo_test": value,
                "elbo_test_se": cell_sd,
                "scib_total": value,
                "n_latent": 10,
                "device": "cpu",
            },
            pd.DataFrame({"scib_total": random.normal(value, cell_sd, 500)}),
            NOTHING,
            NOTHING,
        )
        for i, value in enumerate(values)
    ]


def test_spread_is_that_of_numpy_and_sizes_are_no_scores() -> None:
    values = np.array([-500.0, -501.5, -499.2])
    table = spread_of_scores(fits_with(values, 2.0)).set_index("metric")
    assert list(table.index) == ["elbo_test", "scib_total"]
    row = table.loc["elbo_test"]
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    assert row["cv"] == pytest.approx(values.std(ddof=1) / 500.2333333)
    assert (row["min"], row["max"], row["n"]) == (-501.5, -499.2, 3)
    assert row["cell_sd"] == 2.0
    assert table.loc["scib_total", "cell_sd"] == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("cell_sd", "verdict"), [(10.0, "less"), (0.7, "alike"), (0.05, "more")])
def test_seed_noise_is_judged_against_that_of_cells(cell_sd: float, verdict: str) -> None:
    values = -500 + np.array([-1, -0.5, 0, 0, 0.5, 1])  # standard deviation 0.71, 95 % interval 0.44 to 1.74
    assert set(spread_of_scores(fits_with(values, cell_sd))["seed_noise"]) == {verdict}


def test_models_of_the_same_quality_rarely_differ_by_more_than_the_least_difference() -> None:
    random = np.random.default_rng(0)
    beyond = 0
    for _ in range(400):
        of_seeds = spread_of_scores(fits_with(random.normal(0, 1, 5), 1.0))["least_difference"].iloc[0]
        beyond += abs(random.normal() - random.normal()) > of_seeds
    assert 0.02 < beyond / 400 < 0.09


def test_intervals_of_pair_means_cover_the_truth() -> None:
    """Pairs share fits: an interval that took them for independent would cover far less."""
    random = np.random.default_rng(0)
    truth = 2 / np.sqrt(np.pi)  # mean distance of two standard normal draws
    covered, naive = 0, 0
    for _ in range(400):
        x = random.normal(size=6)
        rows = [(f"s{i}", f"s{j}", abs(x[i] - x[j]) / 4) for i, j in combinations(range(6), 2)]
        pairs = pd.DataFrame(rows, columns=["fit_a", "fit_b", "value"])
        found = mean_over_pairs(pairs)
        covered += found.low <= truth / 4 <= found.high
        reach = 1.96 * pairs["value"].std() / np.sqrt(len(pairs))
        naive += abs(found.mean - truth / 4) <= reach
    assert covered / 400 > 0.88
    assert naive < covered


def test_two_fits_have_one_pair_and_no_interval() -> None:
    found = mean_over_pairs(pd.DataFrame({"fit_a": ["a"], "fit_b": ["b"], "value": [0.7]}))
    assert found.mean == found.least == found.most == 0.7
    assert np.isnan(found.low)


def test_recurrence_is_the_best_jaccard_index() -> None:
    reference = pd.Series(list("aaaabbbbcc"))
    other = pd.Series(list("xxxxxyyyzz"))
    np.testing.assert_allclose(recurrence(reference, other)[["a", "b", "c"]], [4 / 5, 3 / 4, 1])


def test_alignment_ignores_rotation_shift_and_scale_and_neighbours_are_those_of_sklearn() -> None:
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(0)
    latent = random.normal(size=(400, 5))
    turned = 3 * latent @ np.linalg.qr(random.normal(size=(5, 5)))[0] + 7
    assert linear_cka(latent, turned) == pytest.approx(1)
    assert linear_cka(latent, random.normal(size=(400, 5))) < 0.05
    queries = np.arange(0, 400, 3)
    found = nearest_cells(latent, queries, 8)
    theirs = (
        NearestNeighbors(n_neighbors=9).fit(latent).kneighbors(latent[queries], return_distance=False)[:, 1:]
    )
    np.testing.assert_array_equal(np.sort(found), np.sort(theirs))
    assert shared_neighbors(found, nearest_cells(turned, queries, 8)) == 1
    assert np.isnan(linear_cka(np.zeros((9, 2)), latent[:9]))
