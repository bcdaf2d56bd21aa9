"""Search spaces: what is drawn is what was asked for, and what cannot be is refused before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.search_space import Range, changed, read_space
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, model_spec


def base(family: str = "SCVI", **options: Any) -> dict[str, Any]:
    return model_spec({"name": "scvi", "family": family, **options}).model_dump(mode="json")


@pytest.mark.parametrize("family", FAMILIES)
def test_default_space_draws_what_the_family_accepts(family: str) -> None:
    space = read_space({}, base(family))
    rng = np.random.default_rng(0)
    assert {"n_latent", "training.lr"} <= set(space.options)
    for _ in range(20):
        changes = space.draw(rng)
        spec = model_spec(changed(base(family), changes))
        assert space.current(spec) == changes


@given(low=st.integers(1, 50), width=st.integers(1, 50), log=st.booleans(), seed=st.integers(0, 1000))
def test_whole_numbers_stay_inside_both_ends_included(low: int, width: int, log: bool, seed: int) -> None:
    domain = Range(low, low + width, log, integer=True)
    rng = np.random.default_rng(seed)
    drawn = [domain.draw(rng) for _ in range(50)]
    assert all(isinstance(value, int) and domain.holds(value) for value in drawn)


def test_every_whole_number_is_as_likely() -> None:
    rng = np.random.default_rng(0)
    domain = Range(1, 4, log=False, integer=True)
    counts = np.bincount([domain.draw(rng) for _ in range(4000)], minlength=5)[1:]
    assert counts.min() > 900


def test_logarithmic_floats_spread_over_decades() -> None:
    rng = np.random.default_rng(0)
    domain = read_space({"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}, base()).options[
        "training.lr"
    ]
    drawn = np.array([domain.draw(rng) for _ in range(2000)])
    assert 1e-4 <= drawn.min() < drawn.max() <= 1e-2
    assert abs((drawn < 1e-3).mean() - 0.5) < 0.05


def test_names_with_dots_and_nested_names_are_the_same() -> None:
    dotted = read_space({"training.lr": [1e-3, 1e-2]}, base())
    nested = read_space({"training": {"lr": [1e-3, 1e-2]}}, base())
    assert dotted == nested
    assert changed(base(), {"training.lr": 0.5})["training"]["lr"] == 0.5
    assert base()["training"]["lr"] != 0.5


def test_the_command_line_gives_lists_as_one_word() -> None:
    assert read_space({"n_latent": "5;10"}, base()) == read_space({"n_latent": [5, 10]}, base())
    assert defaults_of(SearchOptions, objectives="elbo_validation;scib_total").objectives == (
        "elbo_validation",
        "scib_total",
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"n_latnt": [5]}, "search.space.n_latnt is not an option; the closest is 'n_latent'"),
        ({"training.lrr": [1]}, "search.space.training.lrr is not an option; the closest is 'training.lr'"),
        ({"n_latent": []}, "search.space.n_latent is an empty list; give at least one value"),
        ({"n_latent": 5}, "search.space.n_latent: give a list of values or {low: …, high: …}, not 5"),
        ({"n_latent": ["many"]}, "search.space.n_latent: input should be a valid integer.*'many'"),
        ({"n_latent": [5, 5]}, r"search.space.n_latent names a value twice: \[5, 5\]"),
        ({"n_latent": [0, 5]}, "search.space.n_latent: input should be greater than 0, but it is 0"),
        ({"n_latent": [True]}, "search.space.n_latent takes no true or false"),
        ({"n_latent": {"low": 20, "high": 5}}, "search.space.n_latent.low must be below high.*20 and 5"),
        ({"n_latent": {"low": 5}}, "search.space.n_latent.high must be a number, but it is None"),
        ({"n_latent": {"low": "a", "high": 5}}, "search.space.n_latent.low must be a number, but it is 'a'"),
        ({"n_latent": {"low": 1.5, "high": 5}}, "search.space.n_latent takes whole numbers.*1.5 and 5"),
        (
            {"n_latent": {"low": 1, "hihg": 5}},
            "search.space.n_latent.hihg is not known; the closest is 'high'",
        ),
        (
            {"dropout_rate": {"low": 0.1, "high": 1.5}},
            "search.space.dropout_rate: input should be less than 1.*1.5",
        ),
        (
            {"training.lr": {"low": 0, "high": 1, "log": True}},
            "search.space.training.lr.low must be above 0 on a logarithmic scale, but it is 0",
        ),
        ({"gene_likelihood": ["zinb", "znb"]}, "search.space.gene_likelihood: .*'znb'"),
        ({"gene_likelihood": {"low": 1, "high": 2}}, "search.space.gene_likelihood takes no numbers"),
        ({"training.train_size": [0.5, 0.6]}, "search.space.training.train_size cannot be varied"),
        ({"seed": [1, 2]}, "search.space.seed cannot be varied"),
    ],
)
def test_what_cannot_be_is_refused_by_name(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_space(space, base())
