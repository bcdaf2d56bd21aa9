"""Values and gradients are those of scvi-tools' distributions, in double precision to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.slow
KINDS = pytest.mark.parametrize("kind", ["nb", "zinb"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
N_CELLS, N_GENES = 7, 11


def ours(kind: str, x: torch.Tensor, **parameters: torch.Tensor) -> torch.Tensor:
    from scvi_downstream.upstream import sparse_likelihood

    return getattr(sparse_likelihood, f"log_{kind}_positive")(x, **parameters)


def stock(kind: str, x: torch.Tensor, **parameters: torch.Tensor) -> torch.Tensor:
    from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

    if kind == "nb":
        return NegativeBinomial(**parameters).log_prob(x)
    return ZeroInflatedNegativeBinomial(zi_logits=parameters.pop("pi"), **parameters).log_prob(x)


def draw(kind: str, dtype: str = "float64", rate: float = 2.0, seed: int = 0) -> tuple[torch.Tensor, dict]:
    """Counts of cells, and parameters of each count that are leaves of the graph."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def uniform() -> torch.Tensor:
        return torch.rand(N_CELLS, N_GENES, generator=generator, dtype=getattr(torch, dtype))

    x = torch.poisson(uniform() * uniform() * rate, generator=generator)
    parameters = {"mu": uniform() * rate + 1e-3, "theta": (4 * uniform() - 2).exp()}
    if kind == "zinb":
        parameters["pi"] = 6 * uniform() - 3
    return x, {name: value.requires_grad_() for name, value in parameters.items()}


def with_gradients(
    function: Callable, kind: str, x: torch.Tensor, leaves: dict, **made: Any
) -> list[np.ndarray]:
    """Value, and gradients of a weighted sum, by all leaves; ``made`` turn these into parameters."""
    import torch

    parameters = {name: made.get(name, lambda leaf: leaf)(leaf) for name, leaf in leaves.items()}
    value = function(kind, x, **parameters)
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    gradients = torch.autograd.grad((weights * value).sum(), list(leaves.values()))
    return [each.detach().double().numpy() for each in (value, *gradients)]


def in_double(x: torch.Tensor, leaves: dict) -> tuple[torch.Tensor, dict]:
    return x.double(), {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}


def require_stocks(kind: str, x: torch.Tensor, leaves: dict, rtol: float, atol: float, **made: Any) -> None:
    found = with_gradients(ours, kind, x, leaves, **made)
    known = with_gradients(stock, kind, *in_double(x, leaves), **made)
    for own, other in zip(found, known, strict=True):
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, rtol=rtol, atol=atol * max(1, np.abs(other).max(initial=0)))


@KINDS
@pytest.mark.parametrize(("dtype", "rtol", "atol"), [("float32", 1e-5, 1e-6), ("float64", 1e-10, 1e-9)])
@pytest.mark.parametrize("rate", [0.1, 2.0, 50.0, 1e5])
def test_values_and_gradients_are_those_of_scvi_tools(
    kind: str, dtype: str, rtol: float, atol: float, rate: float
) -> None:
    x, leaves = draw(kind, dtype, rate)
    value = ours(kind, x, **leaves)
    assert value.dtype == x.dtype
    require_stocks(kind, x, leaves, rtol, atol)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["nb", "zinb"]),
    dtype=st.sampled_from(["float32", "float64"]),
    rate=st.sampled_from([0.01, 0.5, 20.0, 2000.0]),
    seed=st.integers(0, 1000),
)
def test_whatever_the_counts(kind: str, dtype: str, rate: float, seed: int) -> None:
    require_stocks(kind, *draw(kind, dtype, rate, seed), rtol=1e-5, atol=1e-6)


@KINDS
@pytest.mark.parametrize("shared", ["theta of genes", "theta of one row", "theta of batches", "pi of genes"])
def test_gradients_are_those_of_finite_differences(kind: str, shared: str) -> None:
    import torch

    x, leaves = draw(kind)
    if shared == "theta of genes":
        leaves["theta"] = leaves["theta"].detach()[0].requires_grad_()
    if shared == "theta of one row":
        leaves["theta"] = leaves["theta"].detach()[:1].requires_grad_()
    if shared == "pi of genes" and kind == "zinb":
        leaves["pi"] = leaves["pi"].detach()[0].requires_grad_()
    rows = torch.arange(N_CELLS) % 2 if shared == "theta of batches" else slice(None)

    def value(mu: torch.Tensor, theta: torch.Tensor, *pi: torch.Tensor) -> torch.Tensor:
        theta = theta[rows] if theta.ndim == 2 and len(theta) > 1 else theta
        return ours(kind, x, mu=mu, theta=theta, **({"pi": pi[0]} if pi else {}))

    assert torch.autograd.gradcheck(value, tuple(leaves.values()))


@KINDS
@DTYPES
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("theta", lambda theta: theta[0]),
        ("theta", lambda theta: theta[:1]),
        ("theta", lambda theta: theta[:1].expand(N_CELLS, N_GENES)),
        ("theta", lambda theta: theta[[0, 1, 1, 0, 2, 2, 0]]),  # of the batch that a cell is of
        ("theta", lambda theta: theta[:, :1]),
        ("mu", lambda mu: mu[:, :1].exp() * mu[0].softmax(0)),  # of a library size
        ("mu", lambda mu: mu.t().contiguous().t()),
        (
            "mu",
            lambda mu: mu * mu.new_tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1),
        ),  # of several draws of each cell
    ],
)
def test_shapes_are_broadcast(kind: str, dtype: str, name: str, made: Callable) -> None:
    require_stocks(kind, *draw(kind, dtype), rtol=1e-5, atol=1e-6, **{name: made})


@KINDS
@DTYPES
def test_cells_without_counts(kind: str, dtype: str) -> None:
    x, leaves = draw(kind, dtype)
    x[2:5] = 0
    require_stocks(kind, x, leaves, rtol=1e-5, atol=1e-6)
    require_stocks(kind, x * 0, leaves, rtol=1e-5, atol=1e-6)


@KINDS
def test_mini_batch_without_cells(kind: str) -> None:
    x, leaves = draw(kind)
    made = dict.fromkeys(("mu", "pi"), lambda leaf: leaf[:0]) | {"theta": lambda leaf: leaf[0]}
    value, *gradients = with_gradients(ours, kind, x[:0], leaves, **made)
    assert value.shape == (0, N_GENES)
    assert not any(gradient.any() for gradient in gradients)


@KINDS
@pytest.mark.parametrize("counts", [0.0, 1.0, 1e3, 1e6, 1e7])
@pytest.mark.parametrize("theta", [1e-8, 1e-4, 1.0, 1e4, 1e8])
def test_single_precision_is_exact_where_stock_is_not(kind: str, counts: float, theta: float) -> None:
    """Huge counts, and dispersions from tiny to huge, against scvi-tools in double precision."""
    import torch

    x = torch.full((1, 4), counts)
    leaves = {"mu": torch.tensor([[0.1, 1.0, 100.0, max(counts, 3.0)]]), "theta": torch.full((4,), theta)}
    leaves |= {"pi": torch.tensor([[-2.0, 0.0, 2.0, 5.0]])} if kind == "zinb" else {}
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    found = with_gradients(ours, kind, x, leaves)[0]
    plain = with_gradients(stock, kind, x, leaves)[0]
    known = with_gradients(stock, kind, *in_double(x, leaves))[0]
    error, of_stock = (np.abs(each - known) / np.maximum(np.abs(known), 1) for each in (found, plain))
    assert error.max() < 2e-6
    if counts >= 1e6 and theta <= 1e4:
        assert of_stock[0, -1] > 10 * error[0, -1]  # the mean is right and the likelihood small


def test_values_agree_with_scipy() -> None:
    from scipy.stats import nbinom

    x, leaves = draw("nb", rate=20.0)
    mu, theta = (leaves[name].detach().numpy() for name in ("mu", "theta"))
    found = ours("nb", x, **leaves).detach().numpy()
    np.testing.assert_allclose(found, nbinom.logpmf(x.numpy(), theta, theta / (theta + mu)), rtol=1e-6)


@KINDS
def test_nan_stays_nan(kind: str) -> None:
    for name in draw(kind)[1]:
        for place in (0, 1):
            x, leaves = draw(kind)
            x[0, :2] = x.new_tensor([0, 3])
            parameters = {key: leaf.detach().clone() for key, leaf in leaves.items()}
            parameters[name][0, place] = np.nan
            assert ours(kind, x, **parameters).isnan().nonzero().tolist() == [[0, place]]


def test_counts_get_no_gradient() -> None:
    x, leaves = draw("nb")
    with pytest.raises(ValueError, match="no gradient by the counts"):
        ours("nb", x.requires_grad_(), **leaves)
