"""Weights compare like with like, and halves share no cell."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.pipelines.prediction.comparison import (
    Blocks,
    bootstrap_weights,
    difference_weights,
    first_half,
    halved_weights,
    pair_weights,
    whole_weights,
)

SIZES = st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=5).filter(
    lambda sizes: any(min(each) >= 2 for each in sizes)
)


def blocks_of(sizes: list[tuple[int, ...]], rng: np.random.Generator) -> Blocks:
    parts = [rng.permutation(np.repeat(np.arange(len(sizes)), [each[i] for each in sizes])) for i in range(3)]
    return Blocks(*parts, n=len(sizes))


@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_weighted_difference_is_that_of_a_linear_model_with_blocks(
    sizes: list[tuple[int, ...]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = blocks_of(sizes, rng)
    weights = pair_weights(blocks.source, blocks.target, blocks.n)
    y_source, y_target = rng.normal(size=len(blocks.source)), rng.normal(2, 1, size=len(blocks.target))
    codes = np.concatenate([blocks.source, blocks.target])
    condition = np.repeat([0.0, 1.0], [len(blocks.source), len(blocks.target)])
    design = np.column_stack([condition, (codes[:, None] == np.unique(codes)).astype(float)])
    expected = np.linalg.lstsq(design, np.concatenate([y_source, y_target]), rcond=None)[0][0]
    np.testing.assert_allclose(weights[1] @ y_target - weights[0] @ y_source, expected, atol=1e-9)


@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_halves_are_disjoint_and_blocks_weigh_the_same_on_all_sides(
    sizes: list[tuple[int, ...]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = blocks_of(sizes, rng)
    resampled = np.array([False, True, False, True])
    one, other = halved_weights(blocks, np.ones((4, len(sizes))), rng, resampled=resampled)
    assert one.target.shape == (8, len(blocks.target))
    assert not ((one.target > 0) & (other.target > 0)).any()
    np.testing.assert_array_equal(one.target[0::2], other.target[1::2])
    np.testing.assert_array_equal(one.source, other.source)
    sides = [
        (one.source, blocks.source),
        (one.reference, blocks.reference),
        (one.target, blocks.target),
        (other.target, blocks.target),
    ]
    for block in range(len(sizes)):
        shares = [weights[:, codes == block].sum(axis=1) for weights, codes in sides]
        for share in shares[1:]:
            np.testing.assert_allclose(share, shares[0], atol=1e-12)
    np.testing.assert_allclose(one.source.sum(axis=1), 1)


def test_blocks_without_a_counterpart_do_not_count() -> None:
    np.testing.assert_allclose(difference_weights(np.array([[0, 4, 4], [5, 0, 4]]), 1), [0, 0, 2])
    source, target = pair_weights(np.array([0, 0, 1]), np.array([1, 2]), 3)
    np.testing.assert_allclose(source, [0, 0, 1])
    np.testing.assert_allclose(target, [1, 0])
    nothing = whole_weights(Blocks(np.array([0]), np.array([0]), np.array([1]), 2))
    assert np.isnan(nothing.source).all()


def test_bootstrap_keeps_the_number_of_cells_of_a_block_and_its_weight() -> None:
    rng = np.random.default_rng(0)
    blocks = Blocks(np.repeat([0, 1], [5, 15]), np.repeat([0, 1], [5, 15]), np.repeat([0, 1], [20, 20]), 2)
    weights = bootstrap_weights(blocks, np.ones((500, 2)), rng)
    expected = difference_weights(np.array([[10, 30], [20, 20]]), 1)
    expected = expected / expected.sum()
    np.testing.assert_allclose(weights.source[:, :5].sum(axis=1), expected[0])
    np.testing.assert_allclose(weights.target[:, 20:].sum(axis=1), expected[1])
    # as often as drawing with replacement leaves a cell out
    assert abs((weights.target[:, 20:] == 0).mean() - (1 - 1 / 20) ** 20) < 0.02


def test_every_cell_is_as_often_in_either_half() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.permutation(np.repeat([0, 1, 2], [1, 2, 5]))
    chosen = np.array([first_half(blocks, rng) for _ in range(2000)])
    np.testing.assert_allclose(chosen.mean(axis=0), 0.5, atol=0.05)
    assert set(chosen[:, blocks == 1].sum(axis=1)) == {1}
    assert set(chosen[:, blocks == 2].sum(axis=1)) == {2, 3}
