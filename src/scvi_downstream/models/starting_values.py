"""Where training starts: each gene's level and dispersion as the counts have them, and not by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass

_LEAST_COUNT = 0.5  # that a gene is taken to have in all cells together, so that none starts as impossible
_DISPERSIONS = (1e-2, 1e2)
"""Of genes that are as good as Poisson, and of those that a few cells hold nearly all of."""
_FEWEST_COUNTS = 50  # of genes whose dispersions say what that of a typical gene is


def start_from_counts(model: BaseModelClass, cells: np.ndarray) -> None:
    """Give the decoder of an untrained model the genes' mean shares and dispersions.

    scvi-tools draws both at random, so that much of a training is spent on what sums over the cells tell: a step of
    Adam moves a weight by about the learning rate, and a gene's log dispersion begins some units away. The bias of the
    layer whose softmax are the genes' shares becomes their log share, centred; the log inverse dispersion that of
    :func:`dispersions`, the same in every batch or label. What a family does not have is left as it is.

    Parameters
    ----------
    model
        scvi-tools model with its AnnData.
    cells
        ``(n_cells,)`` positions of the training cells; no others are looked at.
    """
    import torch

    module: Any = model.module
    counts = sparse.csr_matrix(model.adata_manager.get_from_registry("X"))[cells].astype(np.float64)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    shares = np.maximum(np.asarray(counts.sum(axis=0)).ravel(), _LEAST_COUNT) / max(
        totals.sum(), _LEAST_COUNT
    )
    levels = np.log(shares)
    log_theta = -np.log(dispersions(counts, totals, shares))
    with torch.no_grad():
        for bias in _levels_of_genes(module, len(shares)):
            bias.copy_(torch.as_tensor(levels - levels.mean()).to(bias).expand_as(bias))
        theta = getattr(module, "px_r", None)
        if theta is not None:
            values = torch.as_tensor(log_theta).to(theta)
            theta.copy_(values if theta.ndim == 1 else values[:, None].expand_as(theta))


def dispersions(counts: sparse.csr_matrix, totals: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Dispersion φ of each gene, by moments: the variance of a count with mean μ is μ + φ μ².

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``.
    totals, shares
        ``(n_cells,)`` counts of the cells and ``(n_genes,)`` mean shares, above 0; their products are means.

    Returns
    -------
    ``(n_genes,)`` within 0.01 and 100; of genes with few counts drawn towards the median of the others, by how
    uncertain they would be if they were Poisson.
    """
    squares = np.asarray(counts.multiply(counts).sum(axis=0)).ravel()
    products = np.asarray(counts.T @ totals).ravel()
    means, squared_means = shares * totals.sum(), shares**2 * np.square(totals).sum()
    excess = squares - 2 * shares * products + squared_means - means
    found, error = excess / squared_means, np.sqrt(2 * squared_means + means) / squared_means
    sure = means >= _FEWEST_COUNTS
    typical = float(np.clip(np.median(found[sure]), *_DISPERSIONS)) if sure.any() else 1.0
    trust = 1 / (1 + np.square(error / typical))
    return np.clip(typical + trust * (found - typical), *_DISPERSIONS)


def _levels_of_genes(module: Any, n_genes: int) -> list[torch.Tensor]:
    """Biases of the layer that gives genes' shares; LDVAE's has that of its batch normalisation."""
    name = "factor_regressor" if hasattr(module.decoder, "factor_regressor") else "px_scale_decoder"
    own = getattr(module.decoder, name).named_parameters()
    return [values for name, values in own if name.endswith("bias") and values.shape[-1] == n_genes]
