"""Cells with planted batch and biology."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.pipelines.batch_effects.design import Design

Simulation = tuple[np.ndarray, Design]


def make_design(
    batches: np.ndarray, labels: np.ndarray | None = None, samples: np.ndarray | None = None
) -> Design:
    cells = pd.Index([f"c{i}" for i in range(len(batches))])

    def named(values: np.ndarray | None, prefix: str) -> pd.Series | None:
        return None if values is None else pd.Series([f"{prefix}{value}" for value in values], index=cells)

    label = named(labels, "l")
    return Design(
        cells=cells,
        positions=np.arange(len(cells)),
        batches=named(batches, "b"),
        biology=label,
        labels=label,
        samples=named(samples, "s"),
        known=np.ones(len(cells), dtype=bool),
    )


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Simulation]:
    """``(n_cells, n_dims)`` points and their design; batches of unlike composition when ``skewed``."""

    def simulated(
        n_cells: int = 300,
        *,
        batch_shift: float = 0.0,
        label_shift: float = 5.0,
        skewed: bool = False,
        n_batches: int = 3,
        seed: int = 0,
    ) -> Simulation:
        rng = np.random.default_rng(seed)
        labels = rng.integers(3, size=n_cells)
        batches = rng.integers(n_batches, size=n_cells)
        if skewed:
            batches = np.where(rng.random(n_cells) < 0.7, labels % n_batches, batches)
        points = rng.normal(size=(n_cells, 6))
        points[:, :3] += label_shift * np.eye(3)[labels]
        points[:, 3] += batch_shift * batches
        return points.astype(np.float32), make_design(batches, labels)

    return simulated


@pytest.fixture(scope="session")
def design_of() -> Callable[..., Design]:
    """A design from plain codes."""
    return make_design


def random_latent(counts: AnnData, n_dims: int, seed: int = 0) -> pd.DataFrame:
    """Coordinates without structure."""
    values = np.random.default_rng(seed).normal(size=(counts.n_obs, n_dims)).astype(np.float32)
    return pd.DataFrame(values, index=counts.obs_names, columns=[f"d{i}" for i in range(n_dims)])


@pytest.fixture
def random(pbmc_counts: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """PCA and latent without structure."""
    return random_latent(pbmc_counts, 6), random_latent(pbmc_counts, 4, 1)
