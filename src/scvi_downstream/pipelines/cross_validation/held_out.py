"""What a fitted model gives cells that it has not seen, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.scvi_internals import forget_cells
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.likelihood import cell_likelihoods
from scvi_downstream.scoring.marginal_likelihood import (
    average_weights,
    log_weights,
    why_no_marginal_likelihood,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

SCORES = ("elbo", "marginal_ll", "reconstruction_error", "effective_samples")
_CELLS_AT_ONCE = 64
# Draws of each batch's bound: enough that the weights of the batches, which are taken from them, are steady.
_DRAWS_FOR_WEIGHTS = 4
_FEWEST_SAMPLES = 20
_INDICES = "_indices"  # MrVI's set-up numbers cells, but only those that it is fitted on


def mixture_bound(bounds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lower bound of log p(x) for a cell of an unknown batch, all known ones being equally likely.

    With b one of B known batches, ``log p(x) = log 1/B Σ_b p(x | b) ≥ Σ_b w_b (bound_b - log w_b) - log B`` for any
    weights; with their softmax over batches as weights this is ``log 1/B Σ_b exp(bound_b)``. Bounds are estimated by
    draws. To exponentiate them would take lucky draws for likelihood, so weights must come from draws of their own:
    then the result errs to neither side of a true bound.

    ``bounds`` are ``(n_batches, n_cells)`` estimates of lower bounds of log p(x | b), ``weights`` of the same shape
    from other draws; ``(n_cells,)`` nats. Jordan, Ghahramani, Jaakkola & Saul (1999), doi:10.1023/A:1007665907178.
    """
    from scipy.special import entr

    return np.asarray((weights * bounds + entr(weights)).sum(axis=0) - np.log(len(bounds)))


@contextmanager
def attached(model: BaseModelClass, cells: AnnData) -> Iterator[None]:
    """Let a model's own functions speak of other cells than those that it was fitted on.

    ``cells`` have the columns of the model's own cells and no category that it does not know.
    """
    before = model.adata
    if _INDICES in before.obs:
        cells.obs[_INDICES] = np.arange(cells.n_obs)
    with quiet():
        model.adata = cells
    uuid = model.adata_manager.adata_uuid
    try:
        yield
    finally:
        with quiet():
            model.adata = before
        forget_cells(model, uuid)


def score_cells(
    model: BaseModelClass, cells: AnnData, with_marginal: np.ndarray, n_samples: int, seed: int
) -> pd.DataFrame:
    """Likelihoods of cells whose batches the model knows.

    Parameters
    ----------
    model
        Fitted model.
    cells
        `n_cells` that it has not seen.
    with_marginal
        ``(n_cells,)`` whether the marginal likelihood is estimated, too.
    n_samples
        Importance samples of each cell.
    seed
        Seed of the draws.

    Returns
    -------
    One row a cell: ``elbo``, ``marginal_ll`` (NaN where not estimated; a lower bound that rises with ``n_samples``),
    ``reconstruction_error`` in nats, and ``effective_samples`` of the estimate.
    """
    everyone, chosen = np.arange(cells.n_obs), np.flatnonzero(with_marginal)
    with attached(model, cells):
        elbo, error = cell_likelihoods(model, everyone, seed)
        weights = _importance_weights(model, chosen, n_samples, seed)
    return _tabulate(cells, elbo, error, chosen, weights)


def score_cells_of_unknown_batch(
    model: BaseModelClass,
    cells: AnnData,
    batch_key: str | None,
    with_marginal: np.ndarray,
    n_samples: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.Series]:
    """Likelihoods of cells whose batch the model is not told, or has not seen.

    A model that corrects for the batch has no p(x) without one. The cell may be of any of the batches that the model
    knows, all equally likely: ``log p(x) = log 1/B Σ_b p(x | b)``. The ELBO bounds that by weights of the batches from
    draws of their own (:func:`mixture_bound`), the marginal likelihood estimates every term by importance
    sampling. The reconstruction error is the mean over batches by the same weights.

    A mixture averages over batches, which can describe a cell better than its own batch does where batches hardly
    differ. What an unseen batch costs is therefore the difference between two mixtures, of a model that has seen the
    batch and of one that has not.

    Parameters
    ----------
    model
        Fitted model.
    cells
        `n_cells` that it has not seen.
    batch_key
        obs column of the batch; ``None``: the model does not see batches, and there is nothing to average.
    with_marginal, n_samples, seed
        As in :func:`score_cells`; samples are shared out over batches, with at least 20 for each.

    Returns
    -------
    The table of :func:`score_cells`, and the mean weight of each known batch: which of them the cells are most like.
    """
    from scipy.special import softmax

    if batch_key is None:
        return score_cells(model, cells, with_marginal, n_samples, seed), pd.Series(dtype=np.float64)
    known = [str(name) for name in model.adata_manager.get_state_registry("batch").categorical_mapping]
    everyone, chosen = np.arange(cells.n_obs), np.flatnonzero(with_marginal)
    n_samples = max(min(n_samples, _FEWEST_SAMPLES), round(n_samples / len(known)))
    first, elbo, error, weights = [], [], [], []
    for batch in known:
        with attached(model, _relabel_batch(cells, batch_key, batch, known)):
            draws = [
                cell_likelihoods(model, everyone, seed + 1 + draw)[0] for draw in range(_DRAWS_FOR_WEIGHTS)
            ]
            first.append(np.mean(draws, axis=0))
            bound, of_batch = cell_likelihoods(model, everyone, seed)
            elbo.append(bound)
            error.append(of_batch)
            weights.append(_importance_weights(model, chosen, n_samples, seed))
    shares = softmax(first, axis=0)  # how well each batch explains a cell: columns sum to one
    bounds = mixture_bound(np.array(elbo), shares)
    errors = (shares * np.array(error)).sum(axis=0)
    table = _tabulate(cells, bounds, errors, chosen, np.concatenate(weights))
    return table, pd.Series(shares.mean(axis=1), index=known)


def _relabel_batch(cells: AnnData, batch_key: str, batch: str, known: list[str]) -> AnnData:
    """The same cells, said to be of another batch; counts are shared, not copied."""
    from anndata import AnnData

    batches = pd.Categorical([batch] * cells.n_obs, categories=sorted(known))
    obs = cells.obs.assign(**{batch_key: batches})
    return AnnData(X=cells.X, obs=obs, var=cells.var, obsm=dict(cells.obsm))


def _importance_weights(model: BaseModelClass, cells: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """``(n_samples, n_cells)``; NaN for a model that has no marginal likelihood."""
    if why_no_marginal_likelihood(model) or len(cells) == 0:
        return np.full((n_samples, len(cells)), np.nan)
    with reproducible(seed):
        parts = [
            log_weights(model, cells[start : start + _CELLS_AT_ONCE], n_samples)
            for start in range(0, len(cells), _CELLS_AT_ONCE)
        ]
    return np.concatenate(parts, axis=1)


def _tabulate(
    cells: AnnData, elbo: np.ndarray, error: np.ndarray, chosen: np.ndarray, weights: np.ndarray
) -> pd.DataFrame:
    """Scores by cell; of the ``chosen`` ones also what their ``(n_samples, n_chosen)`` log-weights say."""
    table = pd.DataFrame({"elbo": elbo, "reconstruction_error": error}, index=cells.obs_names.rename("cell"))
    table = table.reindex(columns=SCORES)
    for name, values in zip(("marginal_ll", "effective_samples"), average_weights(weights), strict=True):
        table.iloc[chosen, table.columns.get_loc(name)] = values
    return table
