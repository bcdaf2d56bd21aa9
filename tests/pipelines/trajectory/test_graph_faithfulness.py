"""Neighbours that a principal graph tears apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.pipelines.trajectory.graph_pseudotime import torn_share
from scvi_downstream.pipelines.trajectory.principal_graph import PrincipalGraph, learn_principal_graph


def horseshoe() -> PrincipalGraph:
    """Eleven nodes along three sides of a flat box, its two ends close to each other."""
    nodes = np.array([[x, 0.0] for x in range(5)] + [[5, 0.25]] + [[x, 0.5] for x in range(4, -1, -1)])
    return PrincipalGraph(nodes, np.column_stack([np.arange(10), np.arange(1, 11)]), 0, 0)


def test_pairs_across_a_horseshoe_are_torn_and_pairs_along_it_are_not() -> None:
    latent = np.array([[0.0, 0], [0, 0.5], [4, 0], [4, 0.1]])
    indices = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    everyone = np.ones(4, dtype=bool)
    assert torn_share(horseshoe(), latent, indices, everyone) == 0.5
    assert torn_share(horseshoe(), latent, indices, np.array([True, False, True, True])) == 0
    assert torn_share(horseshoe(), latent, indices, ~everyone) == 0


@pytest.mark.slow
def test_trees_are_kept_and_noise_is_torn(planted: Callable[..., Any]) -> None:
    def torn(latent: np.ndarray) -> float:
        indices, _ = find_neighbors(latent, 15, exact=True, seed=0)
        return torn_share(learn_principal_graph(latent), latent, indices, np.ones(len(latent), dtype=bool))

    trees = [torn(planted(kind).latent) for kind in ("linear", "bifurcating", "three_way")]
    noise = torn(np.random.default_rng(0).normal(size=(600, 10)))
    assert max(trees) < 0.06 < torn(planted("cycle").latent)
    assert noise > 0.2
