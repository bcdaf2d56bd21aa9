"""Graph connectivity is the share of each label's largest piece."""

import numpy as np
import pytest

from scvi_downstream.metrics.connectivity import graph_connectivity, pieces_of_labels
from scvi_downstream.neighbors import find_neighbors


def test_labels_in_pieces_score_the_share_of_their_largest() -> None:
    places = np.arange(80) + np.repeat([0.0, 1000.0, 2000.0], [30, 10, 40])
    points = places[:, None].astype(np.float32)
    labels = np.repeat(["torn", "whole"], 40)
    pieces = pieces_of_labels(*find_neighbors(points, 8, exact=True, seed=0), labels)
    torn_apart = np.where(np.arange(80) < 30, 0.0, np.where(np.arange(80) < 40, 3.0, 1.0))
    scores = graph_connectivity(pieces, np.stack([np.ones(80), torn_apart]))
    np.testing.assert_allclose(scores, [(30 / 40 + 1) / 2, 1.0])


def test_a_label_without_weight_is_undefined() -> None:
    points = np.arange(20, dtype=np.float32)[:, None]
    pieces = pieces_of_labels(*find_neighbors(points, 4, exact=True, seed=0), np.arange(20) // 10)
    assert np.isnan(graph_connectivity(pieces, np.repeat([[0.0, 1.0]], 10, axis=1)))[0]
    assert graph_connectivity(pieces, np.ones((1, 20)))[0] == pytest.approx(1)
