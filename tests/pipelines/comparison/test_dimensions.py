"""How many latent dimensions: planted ones are found, noise is called noise, edges of the grid are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from scvi_downstream.pipelines.comparison.dimensions import (
    TRAINING_NOISE,
    find_grids,
    held_out_likelihood,
    recommend_dimensions,
)
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.study.defaults import defaults_of, model_spec

N_CELLS = 200


def table(mean: float, seed: int, *, noise: float = 1.0) -> pd.DataFrame:
    """ELBO of training cells and of the same held-out ones for every model: what all share, and noise of its own."""
    own = noise * np.random.default_rng(seed).standard_normal(N_CELLS)
    shared = 50 * np.random.default_rng(0).standard_normal(N_CELLS)
    held_out = pd.DataFrame({"share": ["validation", "test"] * (N_CELLS // 2), "elbo": mean + shared + own})
    trained = pd.DataFrame({"share": "train", "elbo": np.full(50, 1e6)}, index=range(N_CELLS, N_CELLS + 50))
    return pd.concat([held_out, trained])


def specs(*values: int, **others: Any) -> dict[str, dict[str, Any]]:
    return {
        f"scvi_latent{value}": {"family": "SCVI", "n_latent": value, "trial_of": "scvi", **others}
        for value in values
    }


def recommend(
    means: dict[int, float], *, noise: str = "one_standard_error", first_seed: int = 1
) -> dict[str, Any]:
    models = specs(*means)
    tables = {
        f"scvi_latent{value}__cell_likelihood": table(mean, first_seed + i)
        for i, (value, mean) in enumerate(means.items())
    }
    options = defaults_of(ComparisonOptions, champion={"noise": noise})
    return recommend_dimensions(pd.DataFrame(index=list(models)), models, options, **tables)


def test_the_fewest_dimensions_within_noise_are_chosen() -> None:
    answer = recommend({5: -560.0, 10: -500.1, 20: -500.0, 30: -500.05})
    (grid,) = answer["grids"]
    assert (grid["recommended"], grid["grid"], grid["at_edge"]) == (10, [5, 10, 20, 30], None)
    assert set(grid["within_noise"]) == {10, 20, 30}
    assert answer["recommended"] == {"scvi": 10}
    assert grid["n_cells"] == N_CELLS


def test_the_sentence_names_the_winner_its_lead_and_the_choice() -> None:
    answer = recommend({3: -530.0, 10: -500.4, 30: -500.0})
    difference = answer["grids"][0]["differences"][1]["behind_best"]
    assert answer["sentences"][0] == (
        f"n_latent 30 of scvi wins by {difference['value']:.1f} nats per cell (elbo on 200 held-out cells), within "
        f"noise of 10 (± {difference['standard_error']:.1f}); choose 10."
    )
    assert "was trained once" in answer["sentences"][-1]


def test_a_clear_winner_is_compared_with_both_sides() -> None:
    answer = recommend({3: -530.0, 5: -500.0, 10: -506.0})
    assert answer["recommended"] == {"scvi": 5}
    assert answer["sentences"][0].startswith(
        "n_latent 5 of scvi wins (elbo on 200 held-out cells): ahead of 3 by "
    )
    assert " and of 10 by " in answer["sentences"][0]


@pytest.mark.parametrize(
    ("means", "edge", "extend"),
    [
        ({10: -500.0, 20: -510.0}, "lower", [2, 5]),
        ({10: -520.0, 20: -500.0}, "upper", [30, 40]),
        ({2: -500.0, 4: -510.0}, None, []),
        ({5: -520.0, 10: -500.0, 20: -510.0}, None, []),
    ],
)
def test_an_answer_at_the_edge_asks_for_a_larger_grid(
    means: dict[int, float], edge: str | None, extend: list[int]
) -> None:
    answer = recommend(means)
    grid = answer["grids"][0]
    assert (grid["at_edge"], grid["extend"]) == (edge, extend)
    assert any("extend the grid" in sentence for sentence in answer["sentences"]) is bool(edge)


def test_the_standard_error_is_that_of_a_paired_test_and_of_trainings() -> None:
    (grid,) = find_grids(["scvi_latent5", "scvi_latent10"], specs(5, 10))
    tables = {"scvi_latent5": table(-500, 1), "scvi_latent10": table(-510, 2)}
    held_out = held_out_likelihood(grid, tables)
    assert held_out is not None
    behind = held_out.behind(10, 5)
    first, second = (tables[name]["elbo"].iloc[:N_CELLS] for name in tables)
    paired = ttest_rel(first, second)
    of_cells = behind.value / paired.statistic
    of_trainings = TRAINING_NOISE * np.hypot(first.mean(), second.mean())
    assert behind.value == pytest.approx((first - second).mean())
    assert behind.standard_error == pytest.approx(np.hypot(of_cells, of_trainings), rel=1e-6)


def test_seeds_are_averaged_and_their_spread_counts() -> None:
    models = {
        f"scvi_{value}_{seed}": {"family": "SCVI", "n_latent": value, "seed": seed, "trial_of": "scvi"}
        for value in (5, 10)
        for seed in range(3)
    }

    def behind(spread: float) -> dict[str, float]:
        tables = {
            f"{name}__cell_likelihood": table(
                -500 - (spec["n_latent"] == 10) * 2 + spread * (spec["seed"] - 1), 10 + i, noise=0.1
            )
            for i, (name, spec) in enumerate(models.items())
        }
        answer = recommend_dimensions(
            pd.DataFrame(index=list(models)), models, defaults_of(ComparisonOptions), **tables
        )
        (grid,) = answer["grids"]
        assert [row["trainings"] for row in grid["differences"]] == [3, 3]
        assert not any("trained once" in sentence for sentence in answer["sentences"])
        return grid["differences"][1]["behind_best"]

    alike, apart = behind(0.0), behind(4.0)
    assert alike["value"] == pytest.approx(2, abs=0.1)
    assert apart["value"] == pytest.approx(2, abs=0.1)
    # three seeds at -4, 0 and 4: variance (2 × 0.7² + 2 × 16) / 4, for two means of three
    assert apart["standard_error"] == pytest.approx(np.sqrt(2 * (2 * 0.49 + 32) / 4 / 3), rel=0.02)
    assert alike["standard_error"] < 0.6


@pytest.mark.thorough
def test_equally_good_models_lead_to_the_smaller_one() -> None:
    """Breiman's rule: the smaller is kept unless it is behind by more than one standard error, in one case of six."""
    chosen = [
        recommend({5: -1.0, 10: -1.0}, first_seed=100 + 2 * i)["recommended"]["scvi"] for i in range(150)
    ]
    assert 0.76 < np.mean(np.array(chosen) == 5) < 0.92
    safer = [
        recommend({5: -1.0, 10: -1.0}, noise="interval", first_seed=100 + 2 * i)["recommended"]["scvi"]
        for i in range(60)
    ]
    assert np.mean(np.array(safer) == 5) > 0.9
    assert recommend({5: -500.0, 10: -499.0}, noise="none")["recommended"] == {"scvi": 10}


@pytest.mark.thorough
@given(st.dictionaries(st.integers(1, 60), st.floats(-600, -400), min_size=2, max_size=6))
def test_the_recommended_number_is_on_the_grid_and_never_beyond_the_best(means: dict[int, float]) -> None:
    (grid,) = recommend(means)["grids"]
    (reversed_grid,) = recommend(dict(reversed(means.items())))["grids"]
    assert grid["recommended"] in grid["grid"]
    assert grid["recommended"] == min(grid["within_noise"]) <= grid["best"]
    assert grid["grid"] == reversed_grid["grid"] == sorted(means)


def test_only_models_that_differ_in_dimensions_and_seed_are_compared() -> None:
    models = {
        "scvi": {"name": "scvi", "family": "SCVI", "n_latent": 10, "n_layers": 1, "trial_of": None},
        **{
            f"a{n}": {"name": f"a{n}", "family": "SCVI", "n_latent": n, "n_layers": 1, "trial_of": "scvi"}
            for n in (5, 30)
        },
        **{
            f"b{n}": {"name": f"b{n}", "family": "SCVI", "n_latent": n, "n_layers": 2, "trial_of": "scvi"}
            for n in (5, 30)
        },
        "ldvae": {"name": "ldvae", "family": "LinearSCVI", "n_latent": 10, "n_layers": 1, "trial_of": None},
    }
    grids = find_grids([*models, "pca"], models)
    assert [(grid.title, grid.models) for grid in grids] == [
        ("scvi (n_layers 1)", {5: ("a5",), 10: ("scvi",), 30: ("a30",)}),
        ("scvi (n_layers 2)", {5: ("b5",), 30: ("b30",)}),
    ]
    assert [grid.title for grid in find_grids(["scvi", "a5"], models)] == ["scvi"]
    assert find_grids(["scvi", "ldvae"], models) == []


def test_nothing_to_answer_says_why() -> None:
    one = recommend({10: -500.0})
    assert (one["recommended"], one["grids"], one["sentences"]) == ({}, [], [])
    assert "sweep" in one["reason"]
    models = specs(5, 10)
    failed = pd.DataFrame(columns=["share", "elbo", "reconstruction_error", "marginal_ll"])
    answer = recommend_dimensions(
        pd.DataFrame(index=list(models)),
        models,
        defaults_of(ComparisonOptions),
        scvi_latent5__cell_likelihood=table(-500, 1),
        scvi_latent10__cell_likelihood=failed,
    )
    assert answer["reason"] == "No held-out likelihood of models that differ in n_latent alone."


@pytest.mark.slow
def test_planted_dimensions_are_found(tmp_path: Path) -> None:
    from simulation import Planted, simulate

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import fit, reproducible
    from scvi_downstream.runtime.threads import quiet

    counts = simulate(Planted(n_cells=700, n_genes=100, n_latent=3), seed=1)
    models, tables = {}, {}
    training = {"max_epochs": 90, "lr": 0.004, "n_epochs_kl_warmup": 20, "early_stopping_patience": 20}
    for n_latent in (1, 3, 10):
        name = f"scvi_latent{n_latent}"
        spec = model_spec({"name": name, "family": "SCVI", "n_latent": n_latent, "training": training})
        with reproducible(0), quiet():
            model = spec.build(counts.copy(), Keys())
        fit(model, spec, seed=0, accelerator="cpu", checkpoints=CheckpointStore(tmp_path / name))
        cells = np.concatenate([model.validation_indices, model.test_indices])
        with reproducible(0), quiet():
            elbo = model.get_elbo(indices=cells, return_mean=False).numpy()
        tables[f"{name}__cell_likelihood"] = pd.DataFrame({"share": "test", "elbo": elbo}, index=cells)
        models[name] = {"family": "SCVI", "n_latent": n_latent, "trial_of": "scvi"}
    answer = recommend_dimensions(
        pd.DataFrame(index=list(models)), models, defaults_of(ComparisonOptions), **tables
    )
    assert answer["recommended"] == {"scvi": 3}, answer["sentences"]
