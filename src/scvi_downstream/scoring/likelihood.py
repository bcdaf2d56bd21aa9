"""How likely the model finds cells that it was not trained on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.scvi_internals import unchecked_distributions
from scvi_downstream.scoring.marginal_likelihood import (
    SamplingBounds,
    estimate_marginal_likelihood,
    own_log_weights,
    standard_error,
)

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)
_SHARES = ("train", "validation", "test")
_CELLS_AT_ONCE = 128  # as scvi-tools takes them, so that its ELBO is that of the same draws


def score_likelihood(
    model: BaseModelClass, bounds: SamplingBounds, *, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """ELBO, reconstruction error and marginal log-likelihood in nats per cell, on each share of the cells.

    The ELBO and the marginal log-likelihood are log-likelihoods: negative, higher is better. The
    reconstruction error is ``-log p(x | z)`` with one draw of z per cell: lower is better.

    Parameters
    ----------
    model
        scvi-tools model with its AnnData and the indices of its training, validation and test cells.
    bounds
        Of the marginal log-likelihood.
    seed
        Of the posterior samples.

    Returns
    -------
    ``elbo_<share>``, ``elbo_<share>_se``, ``reconstruction_error_<share>``, ``n_<share>`` for
    train, validation and test; ``generalisation_gap`` (ELBO of training minus test cells);
    ``marginal_ll_test`` with its standard error, cells, samples and effective sample size; ``seconds``;
    ``warning``. Values are ``None`` where they do not exist. Beside them, what they are means of: a row for each
    cell of a share with ``share``, ``elbo``, ``reconstruction_error`` and ``marginal_ll`` in nats, NaN where not
    estimated; without rows for a model whose likelihood does not exist.

    References
    ----------
    Kingma & Welling (2014), arXiv:1312.6114; Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519.
    """
    start = time.perf_counter()
    indices = cells_by_share(model)
    scores: dict[str, Any] = {f"n_{share}": len(cells) for share, cells in indices.items()}
    warning = _why_not(model)
    by_cell = {}
    for share, cells in indices.items():
        elbo = reconstruction = np.array([])
        if warning is None and len(cells):
            elbo, reconstruction = cell_likelihoods(model, cells, seed)
            if not np.isfinite(elbo).all():
                warning = f"the likelihood of the {share} cells is NaN or infinite"
        scores |= {
            f"elbo_{share}": _mean(elbo),
            f"elbo_{share}_se": standard_error(elbo),
            f"reconstruction_error_{share}": _mean(reconstruction),
        }
        if elbo.size:
            by_cell[share] = pd.DataFrame({"elbo": elbo, "reconstruction_error": reconstruction}, index=cells)
    train, test = scores["elbo_train"], scores["elbo_test"]
    scores["generalisation_gap"] = None if train is None or test is None else train - test
    usable = warning is None and test is not None
    marginal, marginal_by_cell = estimate_marginal_likelihood(
        model, indices["test"] if usable else np.array([], dtype=int), bounds, seed=seed
    )
    scores |= marginal
    if warning is None and len(indices["test"]) == 0:
        warning = "the test set is empty; lower training.train_size or training.validation_size"
    of_marginal = scores.pop("marginal_ll_warning")
    warning = of_marginal if warning is None else warning
    if warning:
        logger.warning("likelihood: %s", warning)
    table = _by_cell(by_cell, marginal_by_cell, model.adata.obs_names)
    return scores | {"warning": warning, "seconds": time.perf_counter() - start}, table


def cells_by_share(model: BaseModelClass) -> dict[str, np.ndarray]:
    """Positions of a fitted model's training, validation and test cells, in this order; empty where there are none."""
    found = {share: getattr(model, f"{share}_indices") for share in _SHARES}
    return {share: np.asarray([] if cells is None else cells, np.int64) for share, cells in found.items()}


def _by_cell(shares: dict[str, pd.DataFrame], marginal: pd.Series, names: pd.Index) -> pd.DataFrame:
    columns = ["share", "elbo", "reconstruction_error", "marginal_ll"]
    if not shares:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="cell", dtype=object)).astype(
            {"share": str} | dict.fromkeys(columns[1:], np.float64)
        )
    table = pd.concat([frame.assign(share=share) for share, frame in shares.items()])
    table["marginal_ll"] = marginal.reindex(table.index)
    return table.set_axis(pd.Index(names[table.index], name="cell"))[columns]


def cell_likelihoods(model: BaseModelClass, cells: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower bound of log p(x) of each cell and -log p(x | z), by one and the same draw of z, in nats.

    The latter is the decoder's; for SCANVI scvi-tools adds terms of the latent prior.

    Parameters
    ----------
    model
        Fitted model with its AnnData.
    cells
        Positions.
    seed
        Of the draws.

    Returns
    -------
    Twice ``(n_cells,)``.
    """
    import torch
    from scvi.dataloaders import AnnDataLoader

    from scvi_downstream.models.count_loss import one_pass_likelihood

    module, own = model.module.eval(), own_log_weights(model)
    found = []
    with (
        reproducible(seed),
        torch.inference_mode(),
        unchecked_distributions(),
        one_pass_likelihood(module),
    ):
        for tensors in AnnDataLoader(model.adata_manager, indices=cells, batch_size=_CELLS_AT_ONCE):
            if own:
                pair = own(module, tensors, 1)
            else:
                _, generative, losses = module.forward(tensors)
                likelihood = generative["px"].log_prob(tensors["X"].to(module.device)).sum(-1)
                pair = (
                    -losses.dict_sum(losses.reconstruction_loss) - losses.dict_sum(losses.kl_local),
                    likelihood,
                )
            found.append([part.reshape(-1).cpu().numpy() for part in pair])
    elbo, likelihood = (np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True))
    return elbo, -likelihood


def _why_not(model: BaseModelClass) -> str | None:
    import torch

    for name, parameter in model.module.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weights '{name}' are NaN or infinite: the training diverged; lower its learning rate"
    return None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size and np.isfinite(values).all() else None
