"""Fits with a planted truth: the same up to the seed, or unrelated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.stability.comparison import cluster_again
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.study.defaults import defaults_of

N_CELLS, N_TYPES, N_GENES = 300, 5, 80
MakeFits = Callable[..., dict[str, Any]]


def nearest_graph(cells: pd.Index, latent: np.ndarray, k: int = 15) -> NeighborsGraph:
    """Symmetric graph of nearest neighbours, all edges alike: no UMAP, which would have to compile."""
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k).fit(latent).kneighbors(latent)
    rows = np.repeat(np.arange(len(cells)), k - 1)
    edges = sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, indices[:, 1:].ravel())), shape=(len(cells), len(cells))
    )
    links = edges.maximum(edges.T).tocsr()
    return NeighborsGraph(cells, indices.astype(np.int32), distances.astype(np.float32), links, k, exact=True)


def _markers(scores: np.ndarray, groups: list[str], size: int) -> pd.DataFrame:
    """Lists of the highest ``scores`` (draws × groups × genes)."""
    rows = [
        (draw, group, rank + 1, f"g{gene}", f"SYMBOL{gene}", of_group[gene], of_group[gene], 1.0, N_GENES)
        for draw, of_draw in enumerate(scores)
        for group, of_group in zip(groups, of_draw, strict=True)
        for rank, gene in enumerate(np.argsort(-of_group)[:size])
    ]
    names = ["draw", "group", "rank", "gene", "symbol", "score", "lfc_median", "proba_de", "n_candidates"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="session")
def options() -> StabilityOptions:
    return defaults_of(StabilityOptions, top_genes=10, n_neighbors=10)


@pytest.fixture(scope="session")
def make_fits(options: StabilityOptions) -> MakeFits:
    """``noise``: what a seed adds to latent and gene scores; ``unrelated``: cells and genes in another order each."""

    def make(n_fits: int, *, noise: float, unrelated: bool = False) -> dict[str, Any]:
        random = np.random.default_rng(0)
        cells = pd.Index([f"cell{i}" for i in range(N_CELLS)], name="cell")
        middles = random.normal(scale=6, size=(N_TYPES, 6))
        truth = middles[np.arange(N_CELLS) % N_TYPES] + random.normal(size=(N_CELLS, 6))
        effects = random.normal(size=(1, 3, N_GENES))
        tables: dict[str, Any] = {}
        for i in range(n_fits):
            name = "scvi" if i == 0 else f"scvi_seed{i}"
            rotated = truth @ np.linalg.qr(random.normal(size=(6, 6)))[0]
            latent = rotated + noise * random.normal(size=truth.shape)
            scores = np.repeat(effects + noise * random.normal(size=effects.shape), 2, axis=0)
            if unrelated:
                latent, scores = random.permutation(latent), random.permuted(scores, axis=2)
                scores[1] = scores[0]
            graph = nearest_graph(cells, latent)
            tables |= {
                f"{name}__scores": {
                    "model": name,
                    "family": "SCVI",
                    "n_latent": 6,
                    "elbo_test": -500 + noise * random.normal(),
                    "elbo_test_se": 8.0,
                    "scib_total": 0.6 + 0.01 * noise * random.normal(),
                },
                f"{name}__score_draws": pd.DataFrame({"scib_total": random.normal(0.6, 0.02, 100)}),
                f"{name}__latent": pd.DataFrame(latent, index=cells).sample(frac=1, random_state=i),
                f"{name}__seed_clusters": cluster_again(graph, options, 0),
                f"{name}__seed_markers": _markers(scores, ["B", "NK", "T"], options.top_genes),
            }
        return tables

    return make
