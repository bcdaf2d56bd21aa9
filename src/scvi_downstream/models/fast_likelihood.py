"""The exact (zero-inflated) negative binomial log-likelihood of scvi-tools, for less time on CPUs.

Most counts are zero. Where they are, ``lgamma(x + θ) - lgamma(θ) - lgamma(x + 1)`` and ``x log(…)`` vanish; stock
scvi-tools evaluates them for every entry and, through autograd, their derivatives. Here forward and backward are
written out, these terms are taken on the non-zero entries when those are few, and what depends on the gene alone is
taken once a gene. The model, its parameters and its files stay those of scvi-tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import softplus

from scvi_downstream.models.scvi_internals import likelihoods_by

_EPS = 1e-8
# Share of non-zero counts from which picking them out costs more than it saves.
_DENSE_FROM = 0.4


class _NonZeroEntries:
    """The non-zero counts among many zeros."""

    def __init__(self, x: torch.Tensor, where: torch.Tensor) -> None:
        self._flat = where
        self._n_genes = x.shape[1]
        self.counts = self.take(x)

    def take(self, values: torch.Tensor) -> torch.Tensor:
        """Values ``(n_cells, n_genes)``, or one row of them for all cells, at these entries."""
        if values.shape[0] == 1:
            return values.reshape(-1).index_select(0, self._flat % self._n_genes)
        return values.reshape(-1).index_select(0, self._flat)

    def add(self, target: torch.Tensor, values: torch.Tensor) -> None:
        """Add ``values`` to ``target`` at these entries."""
        target.view(-1).index_add_(0, self._flat, values)

    def put(self, target: torch.Tensor, values: torch.Tensor | float) -> None:
        """Put ``values`` into ``target`` at these entries."""
        if isinstance(values, float):
            target.view(-1).index_fill_(0, self._flat, values)
        else:
            target.view(-1).index_copy_(0, self._flat, values)


class _AllEntries:
    """Every count; the terms of non-zero counts are zero where the count is."""

    def __init__(self, x: torch.Tensor) -> None:
        self.counts = x
        self._counted = x > 0

    def take(self, values: torch.Tensor) -> torch.Tensor:
        """The values as they are."""
        return values

    def add(self, target: torch.Tensor, values: torch.Tensor) -> None:
        """Add ``values`` to ``target``."""
        target += values

    def put(self, target: torch.Tensor, values: torch.Tensor | float) -> None:
        """Put ``values`` into ``target`` where the count is not zero."""
        target.copy_(torch.where(self._counted, values, target))


def _entries(x: torch.Tensor) -> _NonZeroEntries | _AllEntries:
    where = x.reshape(-1).nonzero().squeeze(1)
    return _AllEntries(x) if len(where) > _DENSE_FROM * x.numel() else _NonZeroEntries(x, where)


class _CountTerms:
    """What non-zero counts add to log NB: ``x (log µ - log(θ + µ)) + lgamma(x + θ) - lgamma(θ) - lgamma(x + 1)``."""

    def __init__(self, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float) -> None:
        self.total = mu + (theta + eps)
        self.log_total = self.total.log()
        self.entries = _entries(x)
        self._mu = self.entries.take(mu) + eps
        self._theta = theta
        self._sum = self.entries.counts + self.entries.take(theta)

    def values(self) -> torch.Tensor:
        """The terms themselves."""
        counts, take = self.entries.counts, self.entries.take
        gammas = torch.lgamma(self._sum) - take(torch.lgamma(self._theta)) - torch.lgamma(counts + 1)
        return counts * (self._mu.log() - take(self.log_total)) + gammas

    def add_gradients(self, by_mu: torch.Tensor, by_theta: torch.Tensor) -> None:
        """Add their derivatives by µ and θ."""
        counts, take = self.entries.counts, self.entries.take
        share = counts / take(self.total)
        self.entries.add(by_mu, counts / self._mu - share)
        self.entries.add(by_theta, torch.digamma(self._sum) - take(torch.digamma(self._theta)) - share)


class _LogNegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float) -> torch.Tensor:
        terms = _CountTerms(x, mu, theta, eps)
        ratio = (theta + eps).log() - terms.log_total
        result = theta * ratio
        terms.entries.add(result, terms.values())
        ctx.terms, ctx.eps = terms, eps
        ctx.save_for_backward(theta, ratio)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        theta, ratio = ctx.saved_tensors
        terms: _CountTerms = ctx.terms
        share = theta / terms.total
        by_mu = -share
        by_theta = ratio + theta / (theta + ctx.eps) - share
        terms.add_gradients(by_mu, by_theta)
        return None, by_mu.mul_(gradient), _sum_to(theta, by_theta.mul_(gradient)), None


class _LogZeroInflatedNegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, logits: torch.Tensor, eps: float
    ) -> torch.Tensor:
        terms = _CountTerms(x, mu, theta, eps)
        ratio = (theta + eps).log() - terms.log_total
        exponent = theta * ratio - logits
        result = softplus(exponent)
        terms.entries.put(result, terms.entries.take(exponent) + terms.values())
        result -= softplus(-logits)
        ctx.terms, ctx.eps = terms, eps
        ctx.save_for_backward(theta, ratio, logits, exponent)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        theta, ratio, logits, exponent = ctx.saved_tensors
        terms: _CountTerms = ctx.terms
        by_exponent = torch.sigmoid(exponent)
        terms.entries.put(by_exponent, 1.0)
        share = theta / terms.total
        by_logits = torch.sigmoid(-logits).sub_(by_exponent)
        by_mu = -(by_exponent * share)
        by_theta = by_exponent.mul_(ratio + theta / (theta + ctx.eps) - share)
        terms.add_gradients(by_mu, by_theta)
        by_theta = _sum_to(theta, by_theta.mul_(gradient))
        return None, by_mu.mul_(gradient), by_theta, by_logits.mul_(gradient), None


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


def log_zinb(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, pi: torch.Tensor, eps: float = _EPS, **_: Any
) -> torch.Tensor:
    """Log-likelihood of counts under a zero-inflated negative binomial; ``pi`` are the ``(n_cells, n_genes)`` logits.

    All else is as for :func:`log_nb`; equal to :func:`scvi.distributions.log_zinb_positive` but for rounding.
    """
    return _LogZeroInflatedNegativeBinomial.apply(x, mu, _one_row(theta), pi, eps)


@contextmanager
def fast_likelihood() -> Iterator[None]:
    """Let scvi-tools' distributions use these functions on CPU tensors, and skip the check of their arguments."""
    with likelihoods_by(nb=partial(_on_cpu, log_nb), zinb=partial(_on_cpu, log_zinb)):
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


def _sum_to(theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient in the shape of the dispersion: summed over cells where these share it."""
    return gradient.sum(dim=0, keepdim=True) if theta.shape[0] == 1 else gradient
