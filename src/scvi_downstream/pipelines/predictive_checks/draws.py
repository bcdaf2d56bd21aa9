"""Counts that a model generates of a cell's own state or of those of others, and that laws without states generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.models.scvi_internals import decode, encode, unchecked_distributions
from scvi_downstream.pipelines.predictive_checks.counting import AS_GOOD_AS_POISSON, draw_counts
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.scoring.likelihood import cells_by_share
from scvi_downstream.scoring.marginal_likelihood import gene_likelihood
from scvi_downstream.scoring.resampling import stratified_sample

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass


type Draw = Callable[[np.ndarray], np.ndarray]
"""Positions of cells → ``(n_samples, n_cells, n_genes)`` float32 counts."""
NEIGHBOURS = 50
FEWEST_TEST_CELLS = 20
FEWEST_CELLS = 10
# Bounds of memory: cells that are encoded, and entries of a dense matrix that are held, at once.
_CELLS_AT_ONCE = 512
_ENTRIES_AT_ONCE = 4_000_000
_LOG_DISPERSION = (np.log(1e-3), np.log(1e4))
# Halvings of that range, after which log θ is known to 0.0003.
_STEPS = 16


@dataclass(frozen=True, eq=False)
class CheckedCells:
    """Positions of cells.

    Attributes
    ----------
    held_out
        The model has not been trained on them.
    training
        As many training cells, to show what overfitting there is.
    fitted
        All training cells, which baselines are fitted to.
    share
        ``test``, or ``test and validation`` where there are fewer than 20 test cells; early stopping has looked at
        validation cells.
    """

    held_out: np.ndarray
    training: np.ndarray
    fitted: np.ndarray
    share: str

    @property
    def positions(self) -> dict[str, np.ndarray]:
        """Those that are compared, by what :class:`.evidence.Evidence` calls them."""
        return {"held-out": self.held_out, "training": self.training}


def choose_cells(model: BaseModelClass, strata: list[pd.Series | None], most: int, seed: int) -> CheckedCells:
    """Held-out cells and as many training cells, each sampled in the same share of every stratum.

    Parameters
    ----------
    model
        Fitted, with the positions of its training, validation and test cells.
    strata
        Categoricals of all cells; ``None`` ones are ignored.
    most
        Largest number of held-out cells.
    seed
        Seed of the samples.

    Raises
    ------
    InputError
        With fewer than 10 cells that the model was not trained on.
    """
    train, validation, test = map(np.sort, cells_by_share(model).values())
    enough = len(test) >= FEWEST_TEST_CELLS
    held_out = test if enough else np.sort(np.concatenate([test, validation]))
    if len(held_out) < FEWEST_CELLS or len(train) < FEWEST_CELLS:
        raise InputError(
            f"predictive checks need {FEWEST_CELLS} training cells and {FEWEST_CELLS} others, but the model was "
            f"trained on {len(train)} and leaves {len(held_out)}; lower training.train_size or bring more cells"
        )
    chosen = _sampled(held_out, strata, most, seed)
    return CheckedCells(
        held_out=chosen,
        training=_sampled(train, strata, len(chosen), seed),
        fitted=train,
        share="test" if enough else "test and validation",
    )


def _sampled(cells: np.ndarray, strata: list[Any], most: int, seed: int) -> np.ndarray:
    own = [None if column is None else column.iloc[cells] for column in strata]
    return cells[stratified_sample(own, len(cells), most, seed)]


@dataclass(frozen=True, eq=False)
class StatePool:
    """Latent states of training cells, sorted by batch and, within one, by library size.

    ``states`` are ``(n_cells, n_latent)``, one draw of each cell (MrVI's u, which is apart from the sample);
    ``batch`` ``(n_cells,)`` codes, ``library`` their counts.
    """

    states: torch.Tensor
    batch: np.ndarray
    library: np.ndarray


def own_draws(model: BaseModelClass, n_samples: int, seed: int) -> Draw:
    """Draws of p(x' | z, library, batch) with z from q(z | x), x the very counts of the cell."""
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        tensors = _load(model, cells)
        return _sample(model, tensors, encode(model, tensors, n_samples), rng)

    return draw


def population_draws(model: BaseModelClass, pool: StatePool, n_samples: int, seed: int) -> Draw:
    """Draws of p(x' | z, library, batch) with z of other cells, of the same batch and about the same library size.

    What is known of the cell is what a model without latent states knows, too: the library size that the model takes
    it to have is the observed one, or the one that it infers from the counts (LinearSCVI).

    ``pool`` is of :func:`pool_states`; each of the ``n_samples`` draws of a cell takes another training cell.
    """
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        tensors = _load(model, cells)
        batch, library = _batch_and_library(tensors)
        states = pool.states[other_cells(pool, batch, library, n_samples, rng)]
        inference = encode(model, tensors, n_samples)
        return _sample(model, tensors, _replace_states(model, tensors, inference, states), rng)

    return draw


def pool_states(model: BaseModelClass, cells: np.ndarray) -> StatePool:
    """One draw of the latent state of each of the cells.

    ``cells`` are positions of training cells among those of the fitted model.
    """
    import torch

    states, known = [], []
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        tensors = _load(model, cells[start : start + _CELLS_AT_ONCE])
        inference = encode(model, tensors, 2)
        states.append(inference["u" if "u" in inference else "z"][0])
        known.append(_batch_and_library(tensors))
    batch, library = (np.concatenate(parts) for parts in zip(*known, strict=True))
    order = np.lexsort((library, batch))
    return StatePool(torch.cat(states)[torch.as_tensor(order)], batch[order], library[order])


def other_cells(
    pool: StatePool, batch: np.ndarray, library: np.ndarray, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """For each cell ``n_samples`` of the 50 pooled cells of its batch that are nearest in rank of library size.

    ``batch`` and ``library`` are ``(n_cells,)``; the result is ``(n_samples, n_cells)`` positions in the pool, drawn
    with replacement.
    """
    first = np.searchsorted(pool.batch, batch, "left")
    last = np.searchsorted(pool.batch, batch, "right")
    unseen = first == last  # a batch without training cells: those of all batches stand in
    first, last = np.where(unseen, 0, first), np.where(unseen, len(pool.batch), last)
    width = np.minimum(NEIGHBOURS, last - first)
    bounds = zip(first, last, library, strict=True)
    at = np.array([low + np.searchsorted(pool.library[low:high], size) for low, high, size in bounds])
    start = np.clip(at - width // 2, first, last - width)
    return start + rng.integers(0, width, size=(n_samples, len(batch)))


def _load(model: BaseModelClass, cells: np.ndarray) -> dict[str, torch.Tensor]:
    from scvi.dataloaders import AnnDataLoader

    (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=len(cells))
    return tensors


def _batch_and_library(tensors: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Code of the batch and number of counts of each cell."""
    return tensors["batch"].numpy().ravel(), tensors["X"].sum(dim=1).numpy()


def _replace_states(
    model: BaseModelClass, tensors: dict[str, torch.Tensor], inference: dict[str, Any], states: torch.Tensor
) -> dict[str, Any]:
    if "u" not in inference:
        return inference | {"z": states}
    import torch
    from torch.nn.functional import softplus

    module: Any = model.module
    with torch.inference_mode():
        base, shift = module.qz(states, tensors["sample"].to(states.device))
        if shift.shape[-1] == 2 * module.n_latent:  # with a posterior of the shift
            mean, scale = shift[..., : module.n_latent], shift[..., module.n_latent :]
            shift = mean + torch.randn_like(mean) * (softplus(scale) + 1e-3)
        return inference | {"z": base + shift}


def _sample(
    model: BaseModelClass,
    tensors: dict[str, torch.Tensor],
    inference: dict[str, Any],
    rng: np.random.Generator,
) -> np.ndarray:
    import torch
    from scvi.distributions import NegativeBinomial

    module: Any = model.module
    with torch.inference_mode(), unchecked_distributions():
        generative = decode(model, tensors, inference)
        likelihood = gene_likelihood(module, generative)
        if "Normal" in type(likelihood).__name__:
            raise InputError(
                f"the likelihood of this model of the family {type(model).__name__} is "
                f"'{module.gene_likelihood}', which generates no counts; predictive checks need nb, zinb or poisson"
            )
        dropout = getattr(likelihood, "zi_logits", None)
        known = isinstance(likelihood, NegativeBinomial)  # and what is derived from it
        decoded = [likelihood.mu, likelihood.theta] if known else [likelihood.sample()]
        decoded += [] if dropout is None else [dropout]
        finite = all(bool(each.sum().isfinite()) for each in decoded)
    if not finite:
        raise InputError(
            "the model generates counts that are NaN or infinite: its training diverged; lower its learning rate"
        )
    if not known:
        return decoded[0].cpu().numpy().astype(np.float32, copy=False)
    mean, theta, *inflation = map(_rows, decoded)
    return draw_counts(mean, theta, inflation[0] if inflation else None, 1, rng).reshape(likelihood.mu.shape)


def _rows(values: torch.Tensor) -> np.ndarray:
    """``(n_rows, n_genes)``; one row where all cells share it."""
    rows = (
        values.reshape(-1, values.shape[-1])
        if any(values.stride()[:-1])
        else values[(0,) * (values.ndim - 1)][None]
    )
    return rows.float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Rates:
    """Expected counts, the cell's library size times the gene's share of its batch.

    ``shares`` are ``(n_batches, n_genes)``; ``library`` and ``batch`` ``(n_cells,)`` counts and codes of all cells.
    """

    shares: np.ndarray
    library: np.ndarray
    batch: np.ndarray

    def expected(self, cells: np.ndarray) -> np.ndarray:
        """Expected counts of some of the cells, ``(len(cells), n_genes)``."""
        return self.library[cells, None] * self.shares[self.batch[cells]]


def fit_rates(counts: sparse.csr_matrix, batch: np.ndarray, fitted: np.ndarray) -> Rates:
    """Maximum-likelihood shares of each gene in each batch; one cell's worth of the other batches is added to each.

    A gene without a count is given half a count in all training cells: what is impossible cannot be compared.

    ``counts`` are ``(n_cells, n_genes)`` of all cells, ``batch`` their codes, ``fitted`` positions of the training
    cells.
    """
    library = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    own = counts[fitted]
    total = np.maximum(np.asarray(own.sum(axis=0), dtype=np.float64).ravel(), 0.5)
    share = total / library[fitted].sum()
    n_batches = int(batch.max()) + 1
    if n_batches == 1:
        return Rates(share[None], library, batch)
    members = np.ones(len(fitted)), (batch[fitted], np.arange(len(fitted)))
    groups = sparse.csr_matrix(members, shape=(n_batches, len(fitted)))
    sums = np.asarray((groups @ own.astype(np.float64)).todense())
    exposure = groups @ library[fitted]
    prior = np.median(library[fitted])
    return Rates((sums + prior * share) / (exposure + prior)[:, None], library, batch)


def fit_dispersions(counts: sparse.csr_matrix, rates: Rates, fitted: np.ndarray) -> np.ndarray:
    """Maximum-likelihood inverse dispersion θ of each gene, given its rates; the variance is μ + μ² / θ.

    ``counts`` are ``(n_cells, n_genes)`` of all cells, ``fitted`` positions of those to fit to; ``(n_genes,)`` within
    0.001 and 10,000, where a gene is as good as Poisson.
    """
    n_genes = counts.shape[1]
    at_once = max(1, _ENTRIES_AT_ONCE // len(fitted))
    own = counts[fitted].tocsc()
    theta = np.empty(n_genes)
    for start in range(0, n_genes, at_once):
        genes = slice(start, start + at_once)
        expected = rates.library[fitted, None] * rates.shares[:, genes][rates.batch[fitted]]
        theta[genes] = _bisect(own[:, genes].toarray().astype(np.float64), expected)
    return theta


def poisson_draws(rates: Rates, n_samples: int, seed: int) -> Draw:
    """Draws of Poisson counts."""
    return negative_binomial_draws(rates, np.full(rates.shares.shape[1], AS_GOOD_AS_POISSON), n_samples, seed)


def negative_binomial_draws(rates: Rates, theta: np.ndarray, n_samples: int, seed: int) -> Draw:
    """Draws of negative binomial counts, Poisson counts of a rate that is itself gamma-distributed."""
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        expected = rates.expected(cells).astype(np.float32)
        return draw_counts(expected, theta[None].astype(np.float32), None, n_samples, rng)

    return draw


def _bisect(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Root of the score of log θ, which falls from positive to negative where there is one."""
    from scipy.special import digamma

    low, high = (np.full(counts.shape[1], bound) for bound in _LOG_DISPERSION)
    rows, columns = np.nonzero(counts)
    positive = counts[rows, columns]

    def derivative(theta: np.ndarray) -> np.ndarray:
        """Derivative of the log-likelihood by θ; digamma terms vanish where the count is zero."""
        scale = theta + expected
        score = (1 + np.log(theta / scale) - (counts + theta) / scale).sum(axis=0)
        gained = digamma(positive + theta[columns]) - digamma(theta)[columns]
        return score + np.bincount(columns, gained, minlength=len(theta))

    for _ in range(_STEPS):
        middle = (low + high) / 2
        rising = derivative(np.exp(middle)) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.exp((low + high) / 2)
