"""Cells along trajectories of known shape."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from scvi_downstream.graphs.neighbors import NeighborsGraph

Kind = Literal["linear", "bifurcating", "three_way", "cycle", "disconnected"]
N_GENES = 300
MEDIAN_COUNTS = 3000
DISPERSION = 0.2
DIVERGENCE = 1.2  # standard deviation of the change of a gene's log-mean along a branch
SHARE_CHANGING = 0.5
N_CLUSTERS = 7
PARENTS: dict[Kind, dict[str, str | None]] = {
    "linear": {"trunk": None},
    "bifurcating": {"trunk": None, "left": "trunk", "right": "trunk"},
    "three_way": {"trunk": None, "left": "trunk", "middle": "trunk", "right": "trunk"},
    "disconnected": {"trunk": None, "island": None},
}


@dataclass(frozen=True, eq=False)
class Planted:
    """Simulated cells; see :func:`planted`."""

    counts: np.ndarray
    latent: np.ndarray
    time: np.ndarray
    branch: np.ndarray
    tree: frozenset[frozenset[str]]
    root_cell: int
    clusters: pd.Series


class Plant(Protocol):
    def __call__(self, kind: Kind, n_cells: int = 600, seed: int = 0) -> Planted: ...


@pytest.fixture(scope="session")
def planted() -> Plant:
    """Maker of cells along a planted trajectory: ``planted(kind, n_cells=600, seed=0)``.

    ``counts`` (n_cells × 300, integers), ``latent`` (n_cells × 10, PCA of log-normalised counts), ``time`` (true time
    from the root, 0 to 1), ``branch`` (true branch), ``tree`` (pairs of branches that touch), ``root_cell`` (position
    of the cell of the smallest time), ``clusters`` (k-means on the latent). Cached: results are not to be written to.
    """

    @cache
    def plant(kind: Kind, n_cells: int, seed: int) -> Planted:
        return _plant(kind, n_cells, seed)

    def planted(kind: Kind, n_cells: int = 600, seed: int = 0) -> Planted:
        return plant(kind, n_cells, seed)

    return planted


def graph_of(latent: np.ndarray) -> NeighborsGraph:
    """Of cells ``cell_0``, ``cell_1`` …"""
    from scvi_downstream.graphs.neighbors import neighbors_graph

    cells = pd.Index([f"cell_{i}" for i in range(len(latent))])
    return neighbors_graph(cells, latent, n_neighbors=15, n_search=30, exact_up_to=5000, seed=0)


def pseudotime_of(graph: NeighborsGraph, root: int) -> np.ndarray:
    """Diffusion pseudotime; NaN for cells that are not connected to the root."""
    from scvi_downstream.pipelines.trajectory.diffusion import diffusion_coordinates, diffusion_pseudotime
    from scvi_downstream.pipelines.trajectory.start import reach_from

    everything = pd.Series(pd.Categorical(["0"] * len(graph.cells)), index=graph.cells)
    reachable = reach_from(graph, np.array([root]), everything).reachable
    return diffusion_pseudotime(diffusion_coordinates(graph, reachable), root)["dpt_pseudotime"].to_numpy()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets; tests skip where a file is missing."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    return Path(os.environ.get("SCVI_DOWNSTREAM_DATA", default))


def _plant(kind: Kind, n_cells: int, seed: int) -> Planted:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1, N_GENES)
    if kind == "cycle":
        time = rng.random(n_cells)
        branch = np.full(n_cells, "cycle")
        log_mean = base + _around_a_circle(time, rng)
        tree: frozenset[frozenset[str]] = frozenset()
    else:
        time, branch, log_mean = _along_a_tree(PARENTS[kind], base, n_cells, rng)
        pairs = ((name, parent) for name, parent in PARENTS[kind].items() if parent)
        tree = frozenset(frozenset(pair) for pair in pairs)
    counts = _draw_counts(log_mean, rng)
    normalised = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    latent = PCA(10, svd_solver="full").fit_transform(normalised)
    found = KMeans(N_CLUSTERS, n_init=3, random_state=seed).fit_predict(latent)
    root_cell = int(np.argmin(np.where(branch == "island", np.inf, time)))
    clusters = pd.Series(pd.Categorical(found.astype(str)), index=[f"cell_{i}" for i in range(n_cells)])
    return Planted(counts, latent, time, branch, tree, root_cell, clusters)


def _along_a_tree(
    parents: dict[str, str | None], base: np.ndarray, n_cells: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each branch switches genes of its own, smoothly, from where its parent ends."""
    names = list(parents)
    branch = rng.permutation(np.resize(names, n_cells))
    within, time = rng.random(n_cells), np.empty(n_cells)
    depth = 2 if any(parents.values()) else 1
    spread = DIVERGENCE * 2 / depth  # from the root to a tip as much as along two branches
    log_mean, ends = np.empty((n_cells, N_GENES)), {}
    for name, parent in parents.items():
        change = rng.normal(0, spread, N_GENES) * (rng.random(N_GENES) < SHARE_CHANGING)
        middle, width = rng.uniform(0.1, 0.9, N_GENES), rng.uniform(0.1, 0.25, N_GENES)
        start = ends[parent] if parent else base + (0 if name == "trunk" else rng.normal(0, 1, N_GENES))
        low, high = expit(-middle / width), expit((1 - middle) / width)
        ends[name] = start + change
        cells = branch == name
        progress = (expit((within[cells, None] - middle) / width) - low) / (high - low)
        log_mean[cells] = start + change * progress
        time[cells] = (within[cells] + (1 if parent else 0)) / depth
    return time, branch, log_mean


def _around_a_circle(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amplitude = np.abs(rng.normal(0, DIVERGENCE / 2, N_GENES)) * (rng.random(N_GENES) < SHARE_CHANGING)
    phase = rng.uniform(0, 2 * np.pi, N_GENES)
    return amplitude * np.cos(2 * np.pi * time[:, None] - phase)


def _draw_counts(log_mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shares = np.exp(log_mean)
    shares /= shares.sum(axis=1, keepdims=True)
    sizes = rng.lognormal(np.log(MEDIAN_COUNTS), 0.3, (len(shares), 1))
    rates = rng.gamma(1 / DISPERSION, DISPERSION, shares.shape) * shares * sizes
    return rng.poisson(rates)


N_REFERENCE_GENES = 1000
SEED_OF_REFERENCE = 3


@dataclass(frozen=True, eq=False)
class ReferenceInput:
    """What Slingshot was given: ``(n_cells, 10)``, cluster of each cell, start cluster."""

    latent: np.ndarray
    codes: np.ndarray
    start: int


def planted_reference(kind: Kind) -> ReferenceInput:
    """Planted cells; the start is the cluster of the root cell."""
    cells = _plant(kind, 600, SEED_OF_REFERENCE)
    codes = cells.clusters.cat.codes.to_numpy()
    return ReferenceInput(cells.latent, codes, int(codes[cells.root_cell]))


def principal_components(file: Path) -> np.ndarray:
    """``(n_cells, 10)`` of the log-normalised counts of the 1,000 most variable genes, signs fixed."""
    import anndata

    counts = anndata.read_h5ad(file).X.toarray().astype(np.float64)
    normalised = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    genes = np.argsort(-normalised.var(axis=0), kind="stable")[:N_REFERENCE_GENES]
    centred = normalised[:, genes] - normalised[:, genes].mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, np.argsort(-values)[:10]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(10)])
    return centred @ axes


@pytest.fixture(scope="session")
def reference_cells() -> dict[str, np.ndarray]:
    """Planted cells that the reference values are of, ``(n_cells, 10)`` each."""
    kinds: tuple[Kind, ...] = ("bifurcating", "three_way")
    return {kind: planted_reference(kind).latent for kind in kinds}


@pytest.fixture(scope="session")
def cellrank() -> dict[str, Any]:
    """What CellRank makes of planted and real cells, by their name (``benchmarks/fates_reference.py``)."""
    return json.loads((Path(__file__).parent / "reference" / "fates.json").read_text())


class ReferenceComponents(Protocol):
    def __call__(self, file: Path) -> np.ndarray: ...


@pytest.fixture(scope="session")
def reference_components() -> ReferenceComponents:
    """Principal components of a real data set; skips where it is missing."""

    def components(file: Path) -> np.ndarray:
        if not file.exists():
            pytest.skip(f"{file.name} is not in {file.parent} (set SCVI_DOWNSTREAM_DATA)")
        return principal_components(file)

    return components


N_TREND_CELLS = 400


def draw_counts(
    log_rates: np.ndarray, dispersion: float, seed: int = 0, size: float = 5000
) -> tuple[np.ndarray, np.ndarray]:
    """Negative-binomial counts and library sizes; rates are per 10,000."""
    random = np.random.default_rng(seed)
    library = random.lognormal(np.log(size), 0.4, len(log_rates))
    mean = np.exp(log_rates) * library[:, None] / 1e4
    noise = random.gamma(1 / dispersion, dispersion, mean.shape)
    return random.poisson(mean * noise), library


@pytest.fixture(scope="module")
def moving() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pseudotime, log rates, counts and library sizes of 60 genes: half of them move."""
    random = np.random.default_rng(1)
    pseudotime = random.beta(1.2, 1.5, N_TREND_CELLS)
    base, slope = random.normal(1, 1.2, 60), np.where(np.arange(60) < 30, random.normal(0, 2, 60), 0)
    bump = np.where(np.arange(60) < 30, random.normal(0, 1, 60), 0)
    log_rates = base + slope * (pseudotime[:, None] - 0.5) + bump * np.sin(np.pi * pseudotime[:, None])
    return pseudotime, log_rates, *draw_counts(log_rates, 0.3, seed=2)
