"""Molecular cross-validation: part of each cell's molecules is held out and predicted from the rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.parameters import ThinningOptions
from scvi_downstream.progress import track

from .baselines import Baselines
from .scores import compare_methods, tabulate_by_gene

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)
FEWEST_TEST_CELLS = 20
_POSTERIOR_SAMPLES = 10
_MOST_ENTRIES = 10_000_000
_MOST_TUNING_CELLS = 500
_CELLS_AT_ONCE = 1024


@dataclass(frozen=True)
class CellRoles:
    """Positions of the cells that are scored, that tune the baselines, and that these may learn from."""

    scored: np.ndarray
    tuning: np.ndarray
    reference: np.ndarray
    share: str


def assign_roles(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray, most: int, seed: int
) -> CellRoles:
    """Score test cells, or validation cells when there are fewer than 20 of the former.

    The baselines are tuned on validation cells, or on training cells taken out of their reference when
    validation cells are scored.

    Parameters
    ----------
    train, validation, test
        Positions of the cells of each share.
    most
        Most cells to score; more are sampled.
    seed
        Of the samples.
    """
    rng = np.random.default_rng(seed)
    scored, share = (test, "test") if len(test) >= FEWEST_TEST_CELLS else (validation, "validation")
    tuning = validation
    if share == "validation" or len(tuning) < FEWEST_TEST_CELLS:
        tuning = rng.permutation(train)[: max(1, len(train) // 5)]
    tuning = _sample(tuning, _MOST_TUNING_CELLS, rng)
    return CellRoles(
        scored=_sample(scored, most, rng), tuning=tuning, reference=np.setdiff1d(train, tuning), share=share
    )


def thin(
    counts: sparse.csr_matrix, held_out_share: float, seed: int
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split molecules at random: each is held out with the same probability.

    For Poisson counts the two parts are independent, and the expectation of the held-out part is that of the
    kept part times ``held_out_share / (1 - held_out_share)``.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` integers.
    held_out_share
        Probability that a molecule is held out.
    seed
        Of the draw.

    Returns
    -------
    The kept and the held-out part, both ``(n_cells, n_genes)``; they add up to ``counts``.

    References
    ----------
    Batson, Royer & Webber (2019), doi:10.1101/786269.
    """
    held_out, kept = counts.copy(), counts.copy()
    held_out.data = (
        np.random.default_rng(seed).binomial(counts.data.astype(np.int64), held_out_share).astype(np.float32)
    )
    kept.data = (counts.data - held_out.data).astype(np.float32)
    for part in (held_out, kept):
        part.eliminate_zeros()
    return kept, held_out


def score_held_out_counts(
    model: BaseModelClass, counts: AnnData, options: ThinningOptions, *, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the model and three baselines on the held-out molecules of cells that it was not trained on.

    Every method sees the kept molecules only and predicts a rate per gene; the expected held-out count is the
    rate times the cell's kept library times ``share / (1 - share)``. The model's rate is the mean of ten
    posterior samples.

    Parameters
    ----------
    model
        scvi-tools model with its AnnData and the indices of its training, validation and test cells.
    counts
        The study's counts in the same order of cells, for their obs columns.
    options
        Share held out, neighbours of the smoothing baseline, most cells.
    seed
        Of every draw.

    Returns
    -------
    Scores with 95 % bootstrap intervals over cells; one row per gene with each method's
    correlation and error.
    """
    genes = pd.Index(model.adata.var_names, name="gene")
    most = max(FEWEST_TEST_CELLS, min(options.max_cells, _MOST_ENTRIES // len(genes)))
    roles = assign_roles(*_shares(model), most, seed)
    if roles.share == "validation":
        logger.warning(
            "imputation is scored on %d validation cells, since fewer than %d cells are in the test set; "
            "they were used for early stopping, so the model's score is a little too good",
            len(roles.scored),
            FEWEST_TEST_CELLS,
        )
    matrix = sparse.csr_matrix(model.adata.X)
    kept, held_out = thin(matrix[roles.scored], options.held_out_share, seed)
    alive = np.flatnonzero(np.asarray(kept.sum(axis=1)).ravel() > 0)
    roles = CellRoles(roles.scored[alive], roles.tuning, roles.reference, roles.share)
    kept, held_out = kept[alive], held_out[alive]
    tuning_kept, tuning_held_out = thin(matrix[roles.tuning], options.held_out_share, seed + 1)
    baselines = Baselines.fit(matrix[roles.reference], options.n_neighbors, seed)
    baselines = baselines.tuned(tuning_kept, tuning_held_out, options.held_out_share)
    rates = {"model": _model_rates(model, counts, roles.scored, kept, seed), **baselines.rates(kept)}
    summary, by_method = compare_methods(rates, kept, held_out, options.held_out_share, seed=seed)
    scores = {
        "cells": roles.share,
        "n_cells": len(roles.scored),
        "n_genes": len(genes),
        "held_out_share": options.held_out_share,
        "posterior_samples": _POSTERIOR_SAMPLES,
        "n_neighbors": baselines.n_neighbors,
        **summary,
    }
    logger.info("imputation: %s", scores["verdict"])
    return scores, tabulate_by_gene(genes, by_method, held_out)


def _shares(model: BaseModelClass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shares = (model.train_indices, model.validation_indices, model.test_indices)
    train, validation, test = (np.asarray([] if share is None else share, dtype=np.int64) for share in shares)
    return train, validation, test


def _model_rates(
    model: BaseModelClass, counts: AnnData, cells: np.ndarray, kept: sparse.csr_matrix, seed: int
) -> np.ndarray:
    from anndata import AnnData

    thinned = AnnData(kept, obs=counts.obs.iloc[cells].copy(), var=pd.DataFrame(index=model.adata.var_names))
    starts = range(0, len(cells), _CELLS_AT_ONCE)
    with reproducible(seed), quiet():
        blocks = [
            model.get_normalized_expression(
                thinned,
                indices=np.arange(start, min(start + _CELLS_AT_ONCE, len(cells))),
                n_samples=_POSTERIOR_SAMPLES,
                library_size=1,
                return_mean=True,
                return_numpy=True,
            )
            for start in track(starts, "predicting held-out counts", len(starts))
        ]
    return np.concatenate(blocks).astype(np.float32)


def _sample(cells: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(cells if len(cells) <= most else rng.choice(cells, most, replace=False))
