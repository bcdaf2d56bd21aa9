from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow


def draw(n_cells: int, n_genes: int, rate: float, seed: int, *, shared_dispersion: bool) -> tuple:
    import torch

    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.rand(n_cells, n_genes, generator=generator) * rate, generator=generator)
    mu = torch.rand(n_cells, n_genes, generator=generator) * rate + 1e-4
    theta = torch.randn((1 if shared_dispersion else n_cells), n_genes, generator=generator).exp()
    return counts, mu.requires_grad_(), theta.requires_grad_()


def value_and_gradients(
    function: Callable, counts: object, *parameters: object
) -> tuple[np.ndarray, list[np.ndarray]]:
    for parameter in parameters:
        parameter.grad = None
    value = function(counts, *parameters)
    value.sum(-1).mean().backward()
    return value.detach().numpy(), [parameter.grad.numpy().copy() for parameter in parameters]


@settings(max_examples=20, deadline=None)
@given(
    n_cells=st.integers(1, 20),
    n_genes=st.integers(1, 30),
    rate=st.sampled_from([0.01, 0.5, 20.0, 2000.0]),
    seed=st.integers(0, 1000),
    shared=st.booleans(),
)
def test_values_and_gradients_are_those_of_scvi_tools(
    n_cells: int, n_genes: int, rate: float, seed: int, *, shared: bool
) -> None:
    from scvi.distributions._negative_binomial import log_nb_positive

    from scvi_downstream.models.fast_likelihood import log_nb

    counts, *parameters = draw(n_cells, n_genes, rate, seed, shared_dispersion=shared)
    value, gradients = value_and_gradients(log_nb, counts, *parameters)
    expected, expected_gradients = value_and_gradients(log_nb_positive, counts, *parameters)
    np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-4 * max(1.0, np.abs(expected).max()))
    for gradient, known in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, known, rtol=2e-3, atol=2e-4 * max(1.0, np.abs(known).max()))


def test_gradients_agree_with_finite_differences() -> None:
    import torch

    from scvi_downstream.models.fast_likelihood import log_nb

    counts, *parameters = (tensor.detach().double() for tensor in draw(4, 5, 3.0, 0, shared_dispersion=True))
    mu, theta = (parameter.requires_grad_() for parameter in parameters)
    assert torch.autograd.gradcheck(lambda *given: log_nb(counts, *given), (mu, theta))


def test_values_agree_with_scipy() -> None:
    import torch
    from scipy.stats import nbinom

    from scvi_downstream.models.fast_likelihood import log_nb

    counts, mu, theta = (tensor.detach().double() for tensor in draw(6, 7, 5.0, 1, shared_dispersion=False))
    expected = nbinom.logpmf(counts.numpy(), theta.numpy(), (theta / (theta + mu)).numpy())
    np.testing.assert_allclose(log_nb(counts, mu, theta).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert torch.get_default_dtype() == torch.float32


def test_leaves_scvi_tools_as_it_found_it() -> None:
    from scvi.distributions import _negative_binomial as stock

    from scvi_downstream.models.fast_likelihood import fast_likelihood

    before = stock.log_nb_positive
    with fast_likelihood():
        assert stock.log_nb_positive is not before
    with pytest.raises(ZeroDivisionError), fast_likelihood():
        _ = 1 / 0
    assert stock.log_nb_positive is before
