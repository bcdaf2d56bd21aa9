"""Counts of a known law, and what the checks make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.pipelines.predictive_checks.draws import (
    Rates,
    fit_dispersions,
    negative_binomial_draws,
    poisson_draws,
)
from scvi_downstream.pipelines.predictive_checks.evidence import (
    Evidence,
    GeneReference,
    gather,
    gene_reference,
)

N_SAMPLES = 40


@dataclass(frozen=True, eq=False)
class Simulated:
    """Negative binomial counts without any state, and the baselines fitted to the training cells."""

    counts: sparse.csr_matrix
    theta: np.ndarray
    shares: np.ndarray
    fitted: np.ndarray
    held_out: np.ndarray
    rates: Rates
    fitted_theta: np.ndarray
    reference: GeneReference

    def evidence(self, source: str) -> Evidence:
        """Of ``nb`` or ``poisson`` and the held-out cells."""
        draw = (
            negative_binomial_draws(self.rates, self.fitted_theta, N_SAMPLES, 1)
            if source == "nb"
            else poisson_draws(self.rates, N_SAMPLES, 2)
        )
        return gather(
            draw, self.counts, self.held_out, self.reference,
            source=source, cells="held-out", n_samples=N_SAMPLES, seed=3,
        )  # fmt: skip


def simulate(seed: int, *, poisson: bool, n_fitted: int = 800, n_held_out: int = 150) -> Simulated:
    """Counts of 200 genes with means of 0.05 to 20."""
    rng = np.random.default_rng(seed)
    n_cells, n_genes = n_fitted + n_held_out, 200
    mean = 10 ** rng.uniform(-1.3, 1.3, n_genes)
    theta = 10 ** rng.uniform(-0.5, 1.0, n_genes)
    size = rng.lognormal(0, 0.4, n_cells)[:, None]
    noise = 1.0 if poisson else rng.gamma(theta, 1 / theta, size=(n_cells, n_genes))
    counts = sparse.csr_matrix(rng.poisson(size * mean * noise).astype(np.float32))
    fitted, held_out = np.arange(n_fitted), np.arange(n_fitted, n_cells)
    # the true size is the library: a total of few genes is a noisy measure of it
    library = size.ravel() * mean.sum()
    shares = np.asarray(counts[fitted].sum(axis=0)) / library[fitted].sum()
    rates = Rates(shares, library, np.zeros(n_cells, dtype=np.int64))
    return Simulated(
        counts, theta, mean / mean.sum(), fitted, held_out, rates,
        fit_dispersions(counts, rates, fitted), gene_reference(counts[fitted], 50),
    )  # fmt: skip


@pytest.fixture(scope="session")
def overdispersed() -> Simulated:
    """Of a negative binomial."""
    return simulate(0, poisson=False)


@pytest.fixture(scope="session")
def equidispersed() -> Simulated:
    """Of a Poisson."""
    return simulate(1, poisson=True)


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Simulated]:
    """Other seeds."""
    return simulate
