"""Counts of a known law, and what the checks make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.models.saved import model_class_of
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
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

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


def fit(family: str, cells: AnnData, *, epochs: int = 3, **arguments: object) -> BaseModelClass:
    import scvi

    cells = cells.copy()
    setup: dict[str, object] = {"batch_key": "batch"}
    if family == "SCANVI":
        setup |= {"labels_key": "label", "unlabeled_category": "unknown"}
    if family == "MRVI":
        setup |= {"sample_key": "sample"}
    if family == "TOTALVI":
        setup |= {"protein_expression_obsm_key": "protein_expression"}
    with quiet():
        scvi.settings.seed = 0
        model_class_of(family).setup_anndata(cells, **setup)
        model = model_class_of(family)(cells, **arguments)
        model.train(
            max_epochs=epochs, train_size=0.7, validation_size=0.1, batch_size=32, accelerator="cpu",
            enable_progress_bar=False,
        )  # fmt: skip
    return model


def cells_of(counts: np.ndarray) -> AnnData:
    rng = np.random.default_rng(7)
    cells = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    cells.obs["batch"] = pd.Categorical(np.where(np.arange(len(counts)) % 2, "a", "b"))
    cells.obs["sample"] = pd.Categorical(np.where(np.arange(len(counts)) % 3, "s", "t"))
    cells.obs["label"] = pd.Categorical(np.array(["unknown", "x", "y"])[np.arange(len(counts)) % 3])
    cells.obsm["protein_expression"] = pd.DataFrame(
        rng.poisson(5, size=(len(counts), 3)), index=cells.obs_names, columns=["p", "q", "r"]
    )
    return cells


@pytest.fixture(scope="session")
def unstructured() -> AnnData:
    """Negative binomial counts of 300 cells without any structure."""
    rng = np.random.default_rng(0)
    mean = 10 ** rng.uniform(-0.7, 1, 60)
    return cells_of(rng.poisson(rng.gamma(3, mean / 3, size=(300, 60)) * rng.lognormal(0, 0.3, (300, 1))))
