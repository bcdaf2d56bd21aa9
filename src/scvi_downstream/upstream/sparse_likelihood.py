"""Log likelihoods of counts by (zero-inflated) negative binomials, for less work on zeros.

Where a count is zero, ``lgamma(x + theta) - lgamma(theta) - lgamma(x + 1)`` and ``x * log(...)``
vanish. Written down plainly they are evaluated for every entry, and through autograd their
derivatives. Here forward and backward are written out, and the counts that are not zero are taken
on their own, in double precision: differences of ``lgamma`` lose all their digits in single
precision where counts or ``theta`` are large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus


def log_nb_positive(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, eps: float = 1e-8
) -> torch.Tensor:
    """Log likelihood of counts according to a negative binomial model.

    Parameters
    ----------
    x
        Counts, which get no gradient. The shapes of all arguments are broadcast.
    mu
        Mean of the negative binomial (positive).
    theta
        Inverse dispersion (positive). What is of a gene alone should have that shape,
        ``(n_genes,)``, or be expanded from it: its gamma functions are then taken once a gene.
    eps
        Numerical stability constant.

    Returns
    -------
    Log likelihood of each count.
    """
    return _log_likelihood(x, mu, theta, None, eps)


def log_zinb_positive(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, pi: torch.Tensor, eps: float = 1e-8
) -> torch.Tensor:
    """Log likelihood of counts according to a zero-inflated negative binomial model.

    Parameters
    ----------
    x
        Counts, which get no gradient. The shapes of all arguments are broadcast.
    mu
        Mean of the negative binomial (positive).
    theta
        Inverse dispersion (positive); see :func:`log_nb_positive`.
    pi
        Logit of the dropout parameter.
    eps
        Numerical stability constant.

    Returns
    -------
    Log likelihood of each count.
    """
    return _log_likelihood(x, mu, theta, pi, eps)


def _log_likelihood(
    x: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, pi: torch.Tensor | None, eps: float
) -> torch.Tensor:
    if x.requires_grad:
        raise ValueError("the likelihood of counts has no gradient by the counts; detach them")
    given = (x, mu, theta) if pi is None else (x, mu, theta, pi)
    shape = torch.broadcast_shapes(*(each.shape for each in given))
    x, mu = x.expand(shape), mu.expand(shape).contiguous()
    pi = None if pi is None else pi.expand(shape).contiguous()
    return _LogLikelihood.apply(x, mu, _without_copies(theta), pi, eps)


def _without_copies(values: torch.Tensor) -> torch.Tensor:
    """Undo an expansion: one copy stands for all of them, and gets the gradient of all."""
    sizes = zip(values.shape, values.stride(), strict=True)
    one = tuple(slice(1) if stride == 0 and size > 1 else slice(None) for size, stride in sizes)
    return values[one].contiguous()


def _log_factorial(counts: torch.Tensor) -> torch.Tensor:
    """From a table where counts are whole numbers, and none is large."""
    if len(counts) and counts.min() > 0 and counts.max() < len(counts) and not counts.frac().any():
        table = torch.arange(1, int(counts.max()) + 2, dtype=counts.dtype, device=counts.device)
        return table.lgamma_().index_select(0, counts.long())
    return (counts + 1).lgamma_()


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        mu: torch.Tensor,
        theta: torch.Tensor,
        pi: torch.Tensor | None,
        eps: float,
    ) -> torch.Tensor:
        n_genes = x.shape[-1:].numel()
        cells, genes = x.reshape(-1, n_genes).nonzero().unbind(1)
        where = cells * n_genes + genes

        def at_counts(values: torch.Tensor) -> torch.Tensor:
            if values.numel() == values.shape[-1:].numel() == n_genes:  # without a copy for each cell
                return values.reshape(-1).index_select(0, genes).double()
            return values.expand(x.shape).reshape(-1).index_select(0, where).double()

        def of_theta(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
            shared = theta.numel() < len(where)
            return at_counts(function(theta.double())) if shared else function(inverse)

        # as if all counts were zero; log1p keeps the digits where theta is large
        log_ratio = (mu / (theta + eps)).log1p_().neg_()
        result = theta * log_ratio
        if pi is not None:
            result = softplus(result - pi) - softplus(-pi)
        counts, means, inverse = at_counts(x), at_counts(mu).add_(eps), at_counts(theta)
        both, totals = counts + inverse, means + inverse
        ratio = (inverse + eps).div_(totals).log_()
        values = (means / totals).log_().mul_(counts).addcmul_(inverse, ratio)
        values += both.lgamma().sub_(of_theta(torch.lgamma)).sub_(_log_factorial(counts))
        if pi is not None:
            values -= softplus(at_counts(pi))
        result.view(-1).index_copy_(0, where, values.to(result.dtype))
        if any(ctx.needs_input_grad):
            share = both / totals
            by_mu = counts.div_(means).sub_(share)
            by_theta = ratio.sub_(share).add_(inverse / (inverse + eps))
            by_theta += both.digamma_().sub_(of_theta(torch.digamma))
            ctx.eps = eps
            ctx.save_for_backward(mu, theta, pi, log_ratio, where, by_mu, by_theta)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        mu, theta, pi, log_ratio, where, *at_counts = ctx.saved_tensors
        given = theta + ctx.eps
        total = mu + given
        by_mu = -theta / total
        by_theta = total.reciprocal_().mul_(mu).mul_(theta / given).add_(log_ratio)
        by_pi = None
        if pi is not None:
            no_dropout = (theta * log_ratio - pi).sigmoid()
            by_mu *= no_dropout
            by_theta *= no_dropout
            no_dropout.view(-1).index_fill_(0, where, 1)
            by_pi = ((-pi).sigmoid() - no_dropout) * gradient
        for whole, at_count in zip((by_mu, by_theta), at_counts, strict=True):
            whole.view(-1).index_copy_(0, where, at_count.to(whole.dtype))
            whole.mul_(gradient)
        return None, by_mu, by_theta.sum_to_size(theta.shape), by_pi, None
