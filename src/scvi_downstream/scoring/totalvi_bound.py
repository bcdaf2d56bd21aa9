"""The likelihood of the RNA under totalVI, comparable with that of families that see RNA alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def totalvi_log_weights(module: Any, tensors: dict[str, torch.Tensor], n_draws: int) -> torch.Tensor:
    """Log p(x | z) + log p(z) - log q(z | x, y) of draws from the encoder, of the RNA counts x alone.

    Any distribution of z bounds log p(x), also one that has seen the proteins y: the mean is a lower bound of
    log p(x), and the log of the mean of the exponential an estimate, in the same units as for the other families.
    scvi-tools' own ELBO is that of x and y together, with penalties of the efficiency of batches and of the
    foreground once a cell, so that it bounds nothing and depends on the number of proteins.

    Parameters
    ----------
    module
        Of a fitted ``TOTALVI``.
    tensors
        One mini-batch of `n_cells`.
    n_draws
        Of z, for each cell.

    Returns
    -------
    ``(n_draws, n_cells)``.

    References
    ----------
    Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x.
    """
    import torch
    from torch.distributions import Normal

    inference, generative = module.forward(
        tensors, inference_kwargs={"n_samples": n_draws}, compute_loss=False
    )
    z, posterior = inference["untran_z"], inference["qz"]  # before the softmax of `ln`
    weights = (
        gene_log_likelihood(module, tensors["X"].to(z.device), generative["px_"])
        + Normal(0.0, 1.0).log_prob(z).sum(-1)
        - posterior.log_prob(z).sum(-1)
    )
    if not module.use_observed_lib_size:
        library = inference["untran_l"]
        batch = tensors["batch"].to(z.device).flatten().long()
        prior = Normal(module.library_log_means[0, batch], torch.sqrt(module.library_log_vars[0, batch]))
        weights += prior.log_prob(library.squeeze(-1)) - inference["ql"].log_prob(library).sum(-1)
    return weights.reshape(n_draws, -1)


def gene_log_likelihood(module: Any, x: torch.Tensor, px: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log p(x | z), summed over genes, from the decoder's parameters."""
    from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

    if module.gene_likelihood == "zinb":
        distribution = ZeroInflatedNegativeBinomial(mu=px["rate"], theta=px["r"], zi_logits=px["dropout"])
    else:
        distribution = NegativeBinomial(mu=px["rate"], theta=px["r"])
    return distribution.log_prob(x).sum(-1)
