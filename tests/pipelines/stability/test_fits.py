from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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


@pytest.mark.thorough
def test_models_of_the_same_quality_rarely_differ_by_more_than_the_least_difference() -> None:
    random = np.random.default_rng(0)
    beyond = 0
    for _ in range(400):
        of_seeds = spread_of_scores(fits_with(random.normal(0, 1, 5), 1.0))["least_difference"].iloc[0]
        beyond += abs(random.normal() - random.normal()) > of_seeds
    assert 0.02 < beyond / 400 < 0.09
