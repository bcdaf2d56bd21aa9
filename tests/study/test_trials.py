"""Trials are named after what they change, and wrong lists are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import crossed, lists_of_sweep, reseeded


def test_every_combination_is_a_trial() -> None:
    trials = dict(crossed("scvi", {"family": "SCVI"}, {"n_latent": [5, 10], "training.lr": [0.001, 0.01]}))
    assert set(trials) == {
        "scvi_latent5_lr0p001",
        "scvi_latent5_lr0p01",
        "scvi_latent10_lr0p001",
        "scvi_latent10_lr0p01",
    }
    assert trials["scvi_latent5_lr0p01"] == {
        "family": "SCVI",
        "n_latent": 5,
        "training": {"lr": 0.01},
        "trial_of": "scvi",
    }


def test_the_model_itself_is_left_as_it_is() -> None:
    model = {"family": "SCVI", "training": {"lr": 0.1, "max_epochs": 3}}
    ((_, trial),) = crossed("scvi", model, {"training.lr": [0.2]})
    assert trial["training"] == {"lr": 0.2, "max_epochs": 3}
    assert model["training"] == {"lr": 0.1, "max_epochs": 3}


@given(
    st.lists(st.integers(1, 60), min_size=1, unique=True),
    st.lists(st.integers(1, 5), min_size=1, unique=True),
)
def test_there_are_as_many_trials_as_combinations(latents: list[int], layers: list[int]) -> None:
    trials = dict(crossed("scvi", {}, {"n_latent": latents, "n_layers": layers}))
    assert len(trials) == len(latents) * len(layers)
    assert {(trial["n_latent"], trial["n_layers"]) for trial in trials.values()} == {
        (latent, layer) for latent in latents for layer in layers
    }


def test_long_names_and_names_alike_are_trials_of_their_own() -> None:
    swept = ("n_hidden", "n_latent", "n_layers", "dropout_rate", "training.lr", "training.weight_decay",
             "training.n_epochs_kl_warmup")  # fmt: skip
    trials = dict(crossed("scvi", {}, {option: [1, 2] for option in swept}))
    assert len(trials) == 2**7
    assert all(len(name) <= 80 and re.fullmatch(r"\w+", name) for name in trials)
    assert list(trials) == list(dict(crossed("scvi", {}, {option: [1, 2] for option in swept})))
    alike = dict(crossed("scvi", {}, {"gene_likelihood": ["a-b", "a.b", "c"]}))
    assert len(alike) == 3
    assert "scvi_genelikelihoodc" in alike


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ("5;10", [5, 10]),
        ("0.001;1.0e-2", [0.001, 0.01]),
        ("nb;zinb", ["nb", "zinb"]),
        (7, [7]),
        ([1, 2], [1, 2]),
    ],
)
def test_lists_of_the_command_line(given_: Any, read: list[Any]) -> None:
    assert lists_of_sweep({"scvi": {"option": given_}}) == {"scvi": {"option": read}}


def test_options_of_the_training_may_be_nested() -> None:
    assert lists_of_sweep({"scvi": {"training": {"lr": "0.1;0.2"}}}) == {"scvi": {"training.lr": [0.1, 0.2]}}


@pytest.mark.parametrize(
    ("values", "message"), [([], "empty list"), ([5, 5], "twice"), ("five", "give a list")]
)
def test_wrong_lists_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"sweep\.scvi\.n_latent.*{message}"):
        list(crossed("scvi", {}, {"n_latent": values}))


def test_seeds_follow_that_of_the_study() -> None:
    trials = dict(reseeded("scvi", {"family": "SCVI"}, 7, 3))
    assert trials == {
        "scvi_seed8": {"family": "SCVI", "seed": 8, "trial_of": "scvi"},
        "scvi_seed9": {"family": "SCVI", "seed": 9, "trial_of": "scvi"},
    }
