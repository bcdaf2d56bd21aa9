"""Which draws of which cells are paired."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.statistics import shared_draws
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.shared_draws import _Draws, _runs


def draws_and_groups(seed: int, n_cells: int, n_layers: int, n_turns: int) -> tuple[_Draws, Comparison]:
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(n_cells) % 3)
    groups = group == 0, group == 1
    return _Draws(rng.permutation(n_cells), n_layers, n_turns), Comparison("g", "n", "a", "b", *groups)


@given(
    seed=st.integers(0, 1000),
    n_cells=st.integers(3, 60),
    n_layers=st.integers(1, 4),
    n_turns=st.integers(2, 90),
)
def test_draws_are_spread_evenly_over_a_group_and_paired_once(
    seed: int, n_cells: int, n_layers: int, n_turns: int
) -> None:
    draws, groups = draws_and_groups(seed, n_cells, n_layers, n_turns)
    pairs = draws.pairs_of(groups, seed)
    assert pairs.shape == (2, n_layers * n_turns)
    assert not np.intersect1d(*pairs).size
    assert min(len(np.unique(side)) for side in pairs) >= shared_draws.DISTINCT * pairs.shape[1]
    cells, turns, layers = draws.meant_by(pairs)
    np.testing.assert_array_equal(layers[0], layers[1])
    np.testing.assert_array_equal(np.bincount(layers[0]), n_turns)
    for side, inside in enumerate((groups.cells1, groups.cells2)):
        assert inside[cells[side]].all()
        for layer in range(n_layers):
            own = layers[side] == layer
            per_cell = np.bincount(cells[side][own], minlength=n_cells)[inside]
            assert per_cell.max() - per_cell.min() <= 1
            at_turn = np.unique(turns[side][own])
            np.testing.assert_array_equal(at_turn, at_turn[0] + np.arange(len(at_turn)))
            assert len(at_turn) == per_cell.max() or len(at_turn) * inside.sum() >= 0.63 * n_turns
    other = draws.pairs_of(groups, seed + 1)
    np.testing.assert_array_equal(np.sort(other), np.sort(pairs))


def test_rests_of_large_groups_share_their_draws() -> None:
    draws = _Draws(np.random.default_rng(0).permutation(2000), 1, 100)
    rests = [draws.of_group(np.arange(2000) % 10 != group) for group in range(10)]
    assert len(np.unique(rests)) < 200


@given(seed=st.integers(0, 1000), n_comparisons=st.integers(1, 6), most=st.integers(1, 400))
def test_draws_in_memory_together_are_those_of_their_comparisons(
    seed: int, n_comparisons: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = [rng.integers(0, 300, (2, 40)) for _ in range(n_comparisons)]
    before, shared_draws.BYTES_OF_DRAWS = shared_draws.BYTES_OF_DRAWS, most * 4 * 7
    try:
        runs = list(_runs(pairs, n_genes=7))
    finally:
        shared_draws.BYTES_OF_DRAWS = before
    assert [i for places, _ in runs for i in places] == list(range(n_comparisons))
    for places, needed in runs:
        np.testing.assert_array_equal(needed, np.unique([pairs[i] for i in places]))
        assert len(needed) <= most or len(places) == 1
