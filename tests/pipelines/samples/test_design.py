from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.pipelines.samples.design import (
    make_contrast,
    permutation_p,
    permutations_within,
    sample_design,
)
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.study.defaults import defaults_of, replicates_of

from .conftest import N_DONORS, simulate


def contrast(conditions: list[str], blocks: list[str] | None = None, most: int = 1000):
    return make_contrast(
        tuple(conditions),
        tuple(blocks or ()),
        np.arange(len(conditions)),
        "stim",
        "ctrl",
        n_permutations=most,
        seed=0,
    )


@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(1, 3))
def test_every_arrangement_comes_once(treated: list[bool], n_blocks: int) -> None:
    given_labels = np.array(treated)
    blocks = np.arange(len(treated)) % n_blocks
    every, complete = permutations_within(given_labels, blocks, 10_000, 0)
    expected = np.prod(
        [comb(int((blocks == b).sum()), int(given_labels[blocks == b].sum())) for b in np.unique(blocks)]
    )
    assert complete
    assert len(every) == len(np.unique(every, axis=0)) == expected
    assert (every[0] == given_labels).all()
    for block in np.unique(blocks):
        assert (every[:, blocks == block].sum(axis=1) == given_labels[blocks == block].sum()).all()


def test_many_arrangements_are_drawn() -> None:
    treated = np.arange(30) % 2 == 0
    drawn, complete = permutations_within(treated, np.zeros(30, dtype=int), 200, 0)
    again, _ = permutations_within(treated, np.zeros(30, dtype=int), 200, 0)
    assert not complete
    assert drawn.shape == (200, 30)
    assert (drawn[0] == treated).all()
    assert (drawn.sum(axis=1) == 15).all()
    assert np.array_equal(drawn, again)


def test_pairs_are_compared_within() -> None:
    made = contrast(["ctrl", "stim"] * 4 + ["stim"], ["a", "a", "b", "b", "c", "c", "d", "d", "e"])
    assert not isinstance(made, str)
    assert made.samples.tolist() == list(range(8))  # 'e' has no ctrl
    assert made.n_blocks == 4
    assert len(made.treated) == 16
    assert made.smallest_p == 2 / 16
    assert np.allclose(made.weights()[0], np.array([-1, 1] * 4) / 4)
    assert np.allclose(made.weights().sum(axis=1), 0)


def test_samples_without_pairs() -> None:
    made = contrast(["ctrl", "ctrl", "stim", "stim", "stim", "other"])
    assert not isinstance(made, str)
    assert np.allclose(made.weights()[0], [-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3])
    assert len(made.treated) == comb(5, 2)
    assert made.smallest_p == 1 / 10


@pytest.mark.parametrize(
    ("conditions", "blocks", "reason"),
    [
        (["ctrl", "ctrl", "stim"], None, "'stim' has 1 sample with cells enough"),
        (["ctrl", "stim", "stim"], None, "'ctrl' has 1 sample with cells enough"),
        (["ctrl", "stim", "ctrl", "stim"], ["a", "b", "c", "d"], "'stim' has 0 samples in pairs"),
    ],
)
def test_too_few_samples_say_so(conditions: list[str], blocks: list[str] | None, reason: str) -> None:
    made = contrast(conditions, blocks)
    assert isinstance(made, str)
    assert reason in made


def test_p_values_of_noise_are_uniform() -> None:
    random = np.random.default_rng(0)
    p = []
    for _ in range(400):
        made = contrast(["ctrl", "stim"] * 6, [f"d{i // 2}" for i in range(12)])
        shifts = random.normal(size=(12, 5))
        p.append(permutation_p(np.linalg.norm(made.weights() @ shifts, axis=1)))
    assert np.mean(np.array(p) <= 0.05) < 0.08
    assert abs(np.mean(p) - 0.5) < 0.06


def test_a_planted_difference_has_the_smallest_p() -> None:
    made = contrast(["ctrl", "stim"] * 6, [f"d{i // 2}" for i in range(12)])
    shifts = np.random.default_rng(0).normal(size=(12, 5)) + 4 * np.tile([0, 1], 6)[:, None]
    assert permutation_p(np.linalg.norm(made.weights() @ shifts, axis=1)) == made.smallest_p == 2 / 64


def test_found_pairs_are_the_blocks_of_permutations() -> None:
    counts = simulate(1.0)
    counts.obs["sample"] = counts.obs["donor"].astype(str) + counts.obs["condition"].astype(str)
    names = {"sample_key": "sample", "condition_key": "condition", "label_key": "cell_type"}
    options = defaults_of(SamplesOptions)
    found, named, off = (
        sample_design(counts, pd.DataFrame(), replicates_of(**names, block_key=block), options)
        for block in (None, "donor", "")
    )
    assert found.blocks == named.blocks == tuple(np.repeat([f"d{i}" for i in range(N_DONORS)], 2))
    assert (found.n_pairs, off.n_pairs, off.blocks) == (N_DONORS, 0, ())
    made = found.contrast("stim", found.supported(0), options, 0)
    assert len(made.treated) == 2**N_DONORS
    assert len(off.contrast("stim", off.supported(0), options, 0).treated) == comb(2 * N_DONORS, N_DONORS)
    counts.obs["donor"] = counts.obs["donor"].astype(object).mask(counts.obs["sample"].eq("d0stim"))
    lost = sample_design(counts, pd.DataFrame(), replicates_of(**names), options)
    assert lost.n_pairs == lost.contrast("stim", lost.supported(0), options, 0).n_blocks == N_DONORS - 1
