"""The exact negative binomial log-likelihood of scvi-tools, for less time on CPUs, for models that Lightning trains.

Most counts are zero. Where they are, ``lgamma(x + θ) - lgamma(θ) - lgamma(x + 1)`` and ``x log(…)`` vanish; stock
scvi-tools evaluates them for every entry and, through autograd, their derivatives. Here forward and backward are
written out, and these terms are taken on the non-zero entries. The model, its parameters and its files stay those of
scvi-tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from scvi_downstream.models.scvi_internals import log_nb_by

_EPS = 1e-8


class _LogNegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float) -> torch.Tensor:
        n_genes = x.shape[1]
        where = x.reshape(-1).nonzero().squeeze(1)

        def take(values: torch.Tensor) -> torch.Tensor:
            """At the counts that are not zero; of one row where all cells share it."""
            return values.reshape(-1).index_select(0, where % n_genes if values.shape[0] == 1 else where)

        total = mu + (theta + eps)
        ratio = (theta + eps).log() - total.log()
        counts, means, dispersions = take(x), take(mu) + eps, take(theta)
        gammas = torch.lgamma(counts + dispersions) - torch.lgamma(dispersions) - torch.lgamma(counts + 1)
        shares = counts / take(total)
        result = theta * ratio
        result.view(-1).index_add_(0, where, counts * (means / take(total)).log() + gammas)
        of_counts = (
            counts / means - shares,
            torch.digamma(counts + dispersions) - torch.digamma(dispersions) - shares,
        )
        ctx.eps = eps
        ctx.save_for_backward(theta, ratio, total, where, *of_counts)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        theta, ratio, total, where, *of_counts = ctx.saved_tensors
        share = theta / total
        parts = -share, ratio + theta / (theta + ctx.eps) - share
        for part, of_count in zip(parts, of_counts, strict=True):
            part.view(-1).index_add_(0, where, of_count)
            part.mul_(gradient)
        by_mu, by_theta = parts
        return None, by_mu, by_theta.sum(0, keepdim=True) if theta.shape[0] == 1 else by_theta, None


def log_nb(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float = _EPS, **_: Any
) -> torch.Tensor:
    """Log-likelihood of counts under a negative binomial.

    Parameters
    ----------
    x, mu
        Counts and means, ``(n_cells, n_genes)``.
    theta
        Inverse dispersions, ``(n_cells, n_genes)``, ``(1, n_genes)`` or ``(n_genes,)``.
    eps
        Added to logarithms' arguments, as in scvi-tools.

    Returns
    -------
    ``(n_cells, n_genes)``, equal to :func:`scvi.distributions.log_nb_positive` but for rounding.
    """
    return _LogNegativeBinomial.apply(x, mu, _one_row(theta), eps)


@contextmanager
def fast_likelihood() -> Iterator[None]:
    """Let scvi-tools' distributions use this function on CPU tensors."""
    with log_nb_by(partial(_on_cpu, log_nb)):
        yield


def _on_cpu(
    fast: Callable[..., torch.Tensor], stock: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    def chosen(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        return (fast if x.device.type == "cpu" and x.ndim == 2 else stock)(x, *arguments, **options)

    return chosen


def _one_row(theta: torch.Tensor) -> torch.Tensor:
    """Undo the expansion of a dispersion that all cells share, so that its logarithms are taken once a gene."""
    if theta.ndim == 1:
        return theta.unsqueeze(0)
    return theta[:1] if theta.shape[0] > 1 and theta.stride(0) == 0 else theta
