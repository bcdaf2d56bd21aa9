"""The exact (zero-inflated) negative binomial log-likelihood of scvi-tools, for less time on CPUs.

Most counts are zero. Where they are, ``lgamma(x + θ) - lgamma(θ) - lgamma(x + 1)`` and ``x log(…)`` vanish; stock
scvi-tools evaluates them for every entry and again, through autograd, their derivatives. Here forward and backward are
written out, and these terms are taken on the non-zero entries only. The model, its parameters and its files stay those
of scvi-tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import softplus

_EPS = 1e-8


class _NegativeBinomialTerms:
    """Terms of log NB that forward and backward share; ``theta`` may be one row that broadcasts over cells."""

    def __init__(self, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float) -> None:
        self.rows, self.columns = x.nonzero(as_tuple=True)
        self.total = mu + (theta + eps)
        self.log_total = self.total.log()
        self.counts = x[self.rows, self.columns]
        self.mu = mu[self.rows, self.columns] + eps
        self.theta = theta.expand_as(x)[self.rows, self.columns]

    def where_not_zero(self) -> torch.Tensor:
        """``x (log µ - log(θ + µ)) + lgamma(x + θ) - lgamma(θ) - lgamma(x + 1)`` of the non-zero entries."""
        log_total = self.log_total[self.rows, self.columns]
        gammas = torch.lgamma(self.counts + self.theta) - torch.lgamma(self.theta) - torch.lgamma(self.counts + 1)
        return self.counts * (self.mu.log() - log_total) + gammas

    def gradients_where_not_zero(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Derivatives of :meth:`where_not_zero` by µ and θ."""
        total = self.total[self.rows, self.columns]
        by_mu = self.counts * (1 / self.mu - 1 / total)
        by_theta = torch.digamma(self.counts + self.theta) - torch.digamma(self.theta) - self.counts / total
        return by_mu, by_theta


class _LogNegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float) -> torch.Tensor:
        terms = _NegativeBinomialTerms(x, mu, theta, eps)
        ratio = (theta + eps).log() - terms.log_total
        result = theta * ratio
        result[terms.rows, terms.columns] += terms.where_not_zero()
        ctx.terms, ctx.eps = terms, eps
        ctx.save_for_backward(theta, ratio)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        theta, ratio = ctx.saved_tensors
        terms: _NegativeBinomialTerms = ctx.terms
        share = theta / terms.total
        by_mu = -share
        by_theta = ratio + theta / (theta + ctx.eps) - share
        extra_mu, extra_theta = terms.gradients_where_not_zero()
        by_mu[terms.rows, terms.columns] += extra_mu
        by_theta[terms.rows, terms.columns] += extra_theta
        return None, gradient * by_mu, _reduce(gradient * by_theta, theta), None


class _LogZeroInflatedNegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, logits: torch.Tensor, eps: float
    ) -> torch.Tensor:
        terms = _NegativeBinomialTerms(x, mu, theta, eps)
        ratio = (theta + eps).log() - terms.log_total
        exponent = theta * ratio - logits
        result = softplus(exponent)
        result[terms.rows, terms.columns] = exponent[terms.rows, terms.columns] + terms.where_not_zero()
        result -= softplus(-logits)
        ctx.terms, ctx.eps = terms, eps
        ctx.save_for_backward(theta, ratio, logits, exponent)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        theta, ratio, logits, exponent = ctx.saved_tensors
        terms: _NegativeBinomialTerms = ctx.terms
        by_exponent = torch.sigmoid(exponent)
        by_exponent[terms.rows, terms.columns] = 1.0
        share = theta / terms.total
        by_logits = torch.sigmoid(-logits) - by_exponent
        by_mu = -by_exponent * share
        by_theta = by_exponent * (ratio + theta / (theta + ctx.eps) - share)
        extra_mu, extra_theta = terms.gradients_where_not_zero()
        by_mu[terms.rows, terms.columns] += extra_mu
        by_theta[terms.rows, terms.columns] += extra_theta
        return None, gradient * by_mu, _reduce(gradient * by_theta, theta), gradient * by_logits, None


def log_nb(x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float = _EPS, **_: Any) -> torch.Tensor:
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


def log_zinb(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, pi: torch.Tensor, eps: float = _EPS, **_: Any
) -> torch.Tensor:
    """Log-likelihood of counts under a zero-inflated negative binomial.

    Parameters
    ----------
    x, mu
        Counts and means, ``(n_cells, n_genes)``.
    theta
        Inverse dispersions, ``(n_cells, n_genes)``, ``(1, n_genes)`` or ``(n_genes,)``.
    pi
        Logits of the zero inflation, ``(n_cells, n_genes)``.
    eps
        Added to logarithms' arguments, as in scvi-tools.

    Returns
    -------
    ``(n_cells, n_genes)``, equal to :func:`scvi.distributions.log_zinb_positive` but for rounding.
    """
    return _LogZeroInflatedNegativeBinomial.apply(x, mu, _one_row(theta), pi, eps)


@contextmanager
def fast_likelihood() -> Iterator[None]:
    """Let scvi-tools' distributions use these functions on CPU tensors, and skip the check of their arguments."""
    from scvi.distributions import _negative_binomial as stock
    from torch.distributions import Distribution

    before = stock.log_zinb_positive, stock.log_nb_positive
    validated = Distribution._validate_args  # type: ignore[attr-defined]
    stock.log_zinb_positive = _on_cpu(log_zinb, before[0])
    stock.log_nb_positive = _on_cpu(log_nb, before[1])
    Distribution.set_default_validate_args(value=False)
    try:
        yield
    finally:
        stock.log_zinb_positive, stock.log_nb_positive = before
        Distribution.set_default_validate_args(value=validated)


def _on_cpu(fast: Callable[..., torch.Tensor], stock: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def chosen(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        return (fast if x.device.type == "cpu" and x.ndim == 2 else stock)(x, *arguments, **options)

    return chosen


def _one_row(theta: torch.Tensor) -> torch.Tensor:
    """Undo the expansion of a dispersion that all cells share, so that its logarithms are taken once a gene."""
    if theta.ndim == 1:
        return theta.unsqueeze(0)
    return theta[:1] if theta.shape[0] > 1 and theta.stride(0) == 0 else theta


def _reduce(gradient: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return gradient.sum(dim=0, keepdim=True) if theta.shape[0] == 1 else gradient
