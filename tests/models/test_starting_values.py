"""Levels and dispersions of genes with which training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit, reproducible
from scvi_downstream.models.starting_values import dispersions, start_from_counts
from scvi_downstream.study.defaults import model_spec


def negative_binomial(dispersion: np.ndarray, mean: np.ndarray, n_cells: int, seed: int) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(0, 0.4, (n_cells, 1))
    return sparse.csr_matrix(rng.poisson(rng.gamma(1 / dispersion, dispersion * mean * depth)).astype(float))


def moments(counts: sparse.csr_matrix) -> np.ndarray:
    totals = np.asarray(counts.sum(axis=1)).ravel()
    return dispersions(counts, totals, np.maximum(np.asarray(counts.sum(axis=0)).ravel(), 0.5) / totals.sum())


@pytest.mark.parametrize("dispersion", [0.1, 0.5, 2.0])
def test_planted_dispersions_are_found(dispersion: float) -> None:
    n_genes = 200
    found = moments(negative_binomial(np.full(n_genes, dispersion), np.full(n_genes, 5.0), 2000, 0))
    assert np.median(found) == pytest.approx(dispersion, rel=0.1)
    assert np.quantile(found, [0.05, 0.95]) == pytest.approx(dispersion, rel=0.5)


def test_genes_with_few_counts_are_given_what_is_typical() -> None:
    mean = np.concatenate([np.full(100, 5.0), np.full(100, 0.002)])
    found = moments(negative_binomial(np.full(200, 0.5), mean, 1000, 1))
    assert np.abs(np.log(found[100:] / 0.5)).max() < 0.2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 20), st.floats(0, 20))
def test_any_counts_give_finite_dispersions(seed: int, n_cells: int, n_genes: int, mean: float) -> None:
    counts = np.random.default_rng(seed).poisson(mean, (n_cells, n_genes)).astype(float)
    counts[0, 0] += 1
    found = moments(sparse.csr_matrix(counts))
    assert ((found >= 0.01) & (found <= 100)).all()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("SCVI", {}), ("SCVI", {"dispersion": "gene-batch", "n_layers": 2}), ("SCVI", {"dispersion": "gene-cell"}),
        ("SCANVI", {}), ("LinearSCVI", {}), ("DRVI", {"n_latent": 4}),
    ],
)  # fmt: skip
def test_an_untrained_model_decodes_the_mean_of_its_training_cells(
    pbmc_counts: AnnData, keys: Keys, family: str, options: dict[str, Any]
) -> None:
    """Of other cells nothing is known to it."""
    genes = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    spec = model_spec({"name": "model", "family": family, **options})
    with reproducible(0):
        model = spec.build(genes, keys)
    cells = np.arange(0, genes.n_obs, 2)
    apart = [np.corrcoef(*levels(model, cells))[0, 1]]
    start_from_counts(model, cells)
    apart.append(np.corrcoef(*levels(model, cells))[0, 1])
    assert apart[1] > max(0.95, apart[0])
    theta = getattr(model.module, "px_r", None)
    if options.get("dispersion") == "gene-batch":
        assert theta is not None
        assert torch.equal(theta[:, 0], theta[:, 1])


def levels(model: Any, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log mean share of each gene, decoded and measured."""
    decoded = model.get_normalized_expression(indices=cells, return_numpy=True).mean(axis=0)
    total = np.asarray(model.adata.X[cells].sum(axis=0)).ravel()
    return np.log(decoded), np.log(np.maximum(total, 0.5) / total.sum())


@pytest.mark.slow
def test_a_start_from_the_counts_is_a_better_one(pbmc_counts: AnnData, keys: Keys, tmp_path: Path) -> None:
    reached = {}
    for start in (True, False):
        spec = model_spec(
            {"name": "scvi", "family": "SCVI", "training": {"max_epochs": 20, "start_from_counts": start}}
        )
        genes = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
        store = CheckpointStore(tmp_path / str(start))
        result = build_and_fit(genes, spec, keys, seed=0, accelerator="cpu", checkpoints=store)
        reached[start] = result.history["elbo_validation"].min()
    assert reached[True] < 0.98 * reached[False]
