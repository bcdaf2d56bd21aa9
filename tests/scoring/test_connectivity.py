"""Graph connectivity is the share of each label's largest piece, among the cells that count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.scoring.mixing import graph_connectivity

K = 8


def nearest(places: np.ndarray, k: int = 3 * K) -> np.ndarray:
    return find_neighbors(places[:, None].astype(np.float32), k, exact=True, seed=0)[0]


def test_labels_in_pieces_score_the_share_of_their_largest() -> None:
    places = np.arange(80) + np.repeat([0.0, 1000.0, 2000.0], [30, 10, 40])
    labels = np.repeat([0, 1], 40)
    large_piece_lost = np.where(np.arange(80) < 21, 0.0, 1.0)
    scores = graph_connectivity(nearest(places), labels, np.stack([np.ones(80), large_piece_lost]), K)
    np.testing.assert_allclose(scores, [(30 / 40 + 1) / 2, (10 / 19 + 1) / 2])


def test_pieces_join_through_the_next_neighbours_of_lost_cells() -> None:
    places = np.arange(40) + np.where(np.arange(40) < 20, 0.0, 30.0)
    labels = np.zeros(40, dtype=int)
    thinned = np.where((np.arange(40) < 15) | (np.arange(40) > 24), 0.0, 1.0)
    scores = graph_connectivity(nearest(places), labels, np.stack([np.ones(40), thinned]), K)
    np.testing.assert_allclose(scores, [0.5, 1.0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_the_graph_of_the_cells_that_are_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.cumsum(rng.exponential(size=90) ** 3)
    labels = np.unique(rng.integers(3, size=90), return_inverse=True)[1]
    weights = rng.integers(3, size=90) * (rng.random(90) < 0.95)
    weights[[int(np.argmax(labels == label)) for label in range(3)]] = 1
    left = np.flatnonzero(weights)
    among_all = graph_connectivity(nearest(places, 90), labels, weights[None].astype(float), 30)
    among_left = graph_connectivity(
        nearest(places[left], 30), labels[left], weights[None, left].astype(float), 30
    )
    assert among_all == pytest.approx(among_left)


def test_a_label_without_weight_is_undefined() -> None:
    places, labels = np.arange(20.0), np.arange(20) // 10
    weights = np.stack([np.repeat([0.0, 1.0], 10), np.ones(20)])
    scores = graph_connectivity(nearest(places), labels, weights, 4)
    assert np.isnan(scores[0])
    assert scores[1] == pytest.approx(1)
