from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp, softmax
from scipy.stats import nbinom

pytestmark = pytest.mark.slow


def expected(
    counts: np.ndarray, logits: np.ndarray, dropout: np.ndarray, library: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    mu = np.exp(library)[:, None] * softmax(logits, axis=1)
    terms = nbinom.logpmf(counts, theta, theta / (theta + mu))
    if len(dropout):
        zero = np.where(counts == 0, np.log(expit(dropout)), -np.inf)
        terms = logsumexp([zero, np.log(expit(-dropout)) + terms], axis=0)
    return terms.sum(1)


@settings(max_examples=40, deadline=None)
@given(
    n_cells=st.integers(1, 9),
    n_genes=st.integers(1, 60),
    rate=st.sampled_from([0.02, 1.0, 30.0, 3000.0]),
    theta=st.sampled_from([1e-3, 0.5, 20.0, 1e4]),
    inflated=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_are_those_of_scipy(
    n_cells: int, n_genes: int, rate: float, theta: float, seed: int, *, inflated: bool
) -> None:
    from scvi_downstream.models.count_kernels import log_likelihood

    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, rate, (n_cells, n_genes))).astype(np.float32)
    logits, dropout = rng.normal(0, 2, (2, n_cells, n_genes)).astype(np.float32)
    dropout = dropout if inflated else dropout[:0]
    library = np.log(counts.sum(1) + 1).astype(np.float32)
    of_batches = (theta * rng.lognormal(0, 0.5, (2, n_genes))).astype(np.float32)
    rows = rng.integers(0, 2, n_cells)
    arrays = [array.astype(np.float64) for array in (counts, logits, dropout, library, of_batches[rows])]
    wanted = expected(*arrays)
    out = np.empty(n_cells, np.float32), np.empty_like(of_batches)
    highest = logits.max(1)
    found = log_likelihood(counts, logits, highest, dropout, library, of_batches, rows, 1.0, *out)
    rounding = 2e-5 * n_genes + 2e-7 * counts.sum(1).max()  # of the means, which are float32
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=rounding)


def test_counts_need_not_be_whole() -> None:
    from math import lgamma, log

    from scvi_downstream.models.count_kernels import log_likelihood

    counts = np.array([[0.25, 3.5, 700.25]], np.float32)
    zeros = np.zeros((1, 3), np.float32)
    theta = np.array([[0.5, 2.0, 40.0]], np.float32)
    size = np.log(np.array([300.0], np.float32))
    out = np.empty(1, np.float32), np.empty((1, 3), np.float32)
    rows = np.zeros(1, np.int64)
    found = log_likelihood(counts, zeros.copy(), zeros[:, 0], zeros[:0], size, theta, rows, 1.0, *out)
    wanted = sum(
        lgamma(x + t) - lgamma(t) - lgamma(x + 1) + t * log(t / (t + 100)) + x * log(100 / (t + 100))
        for x, t in zip(counts[0].astype(float), theta[0].astype(float), strict=True)
    )
    assert found[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_steps_are_those_of_pytorch(name: str) -> None:
    import torch

    from scvi_downstream.models.fast_training import CpuAdam

    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(shape, generator=generator) for shape in ((30, 7), (5,))]
    ours, theirs = ([part.clone().requires_grad_() for part in first] for _ in range(2))
    options = {"lr": 0.01, "eps": 0.01, "weight_decay": 0.1}
    optimizers = (
        CpuAdam(ours, decoupled=name == "AdamW", **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    for _ in range(20):
        gradients = [torch.randn(part.shape, generator=generator) for part in first]
        for weights, optimizer in zip((ours, theirs), optimizers, strict=True):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
    for own, known in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inflated", [False, True])
def test_a_cell_without_counts_pulls_at_nothing(*, inflated: bool) -> None:
    from scvi_downstream.models.count_kernels import log_likelihood

    counts = np.zeros((1, 3), np.float32)
    logits, dropout = (
        np.array([[1.0, -2.0, 0.5]], np.float32),
        np.zeros((1 if inflated else 0, 3), np.float32),
    )
    theta, nothing = np.array([[0.5, 2.0, 40.0]], np.float32), np.array([-np.inf], np.float32)
    by_library, by_theta = np.empty(1, np.float32), np.empty((1, 3), np.float32)
    given = (counts, logits, logits.max(1), dropout, nothing, theta, np.zeros(1, np.int64), 1.0)
    assert log_likelihood(*given, by_library, by_theta)[0] == pytest.approx(0, abs=1e-6)
    for gradient in (logits, by_library, by_theta):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
