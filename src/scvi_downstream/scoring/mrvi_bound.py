"""The likelihood of MrVI, whose state z is a function of u and the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def mrvi_log_weights(module: Any, tensors: dict[str, torch.Tensor], n_draws: int) -> torch.Tensor:
    """Log p(x | z(u, s)) + log p(u) - log q(u | x, s) of draws from the encoder.

    The loss of scvi-tools' MRVI also holds -log p(ε) of the shift ε = z - z(u). That is a penalty of a point and not
    of a distribution: with it the sum bounds nothing (for 30 dimensions it lies at least 27.6 nats a cell lower).
    Without it, its mean is a lower bound of log p(x | s), and the log of the mean of its exponential an estimate,
    like those of the other families.

    Parameters
    ----------
    module
        Of a fitted ``MRVI``.
    tensors
        One mini-batch of `n_cells`.
    n_draws
        Of u, for each cell.

    Returns
    -------
    ``(n_draws, n_cells)``.

    References
    ----------
    Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    inference, generative = module.forward(
        tensors, inference_kwargs={"mc_samples": n_draws}, compute_loss=False
    )
    u = inference["u"]
    counts = tensors["X"].to(u.device)
    return (
        generative["px"].log_prob(counts).sum(-1)
        + generative["pu"].log_prob(u)
        - inference["qu"].log_prob(u).sum(-1)
    )
