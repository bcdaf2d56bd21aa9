"""Is batch correction needed, and did it help?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.parameters import Keys
from scvi_downstream.plots.correction import plot_correction

from .correction_gain import likelihood_gain, mixing_gain, plain
from .correction_sentences import correction_sentences
from .correction_verdict import judge
from .noise import Evidence

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

__all__ = ["judge_correction", "plot_correction"]

logger = logging.getLogger(__name__)


def judge_correction(
    pca_neighbors: NeighborsGraph,
    counts: AnnData,
    keys: Keys,
    seed: int,
    leaderboard: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    **evidence: pd.DataFrame,
) -> dict[str, Any]:
    """Whether uncorrected neighbours share batches beyond chance, and what models that correct have gained.

    Parameters
    ----------
    pca_neighbors
        kNN graph of the principal components of uncorrected counts.
    counts
        For the obs columns.
    keys
        Names of the batch, label and condition columns.
    seed
        Of permutations, clusters and the sample of cells.
    leaderboard
        One row a model or baseline.
    models
        Complete options by model.
    **evidence
        ``<name>__score_draws``: bootstrap draws × scib metrics; ``<name>__cell_likelihood``: cells × ``share, elbo,
        reconstruction_error, marginal_ll``.

    Returns
    -------
    ``needed`` (``None`` where the data cannot tell), ``outcome``, ``p``, ``effect``, ``share`` and ``expected`` of the
    same batch among neighbours, ``detectable`` effect, ``permuted_within``, ``exchangeable_share``, ``n_cells``,
    ``n_batches``, ``batches`` (the excess of all cells, then of each batch), ``likelihood`` (held-out, with and without
    batches), ``mixing`` (against PCA) and ``sentences``.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    verdict = judge(pca_neighbors, counts.obs, keys, seed=seed)
    known = _evidence(evidence)
    likelihood = likelihood_gain(board, models, known) if verdict.n_batches > 1 else None
    mixing = mixing_gain(board, models, known) if verdict.n_batches > 1 else None
    overall = verdict.overall
    sentences = correction_sentences(verdict, keys, likelihood, mixing)
    logger.info("batch correction: %s", sentences[0])
    return {
        "needed": verdict.needed,
        "outcome": verdict.outcome,
        "p": min((one.p for one in verdict.excess), default=None),
        "effect": None if overall is None else _finite(overall.effect),
        "share": None if overall is None else overall.share,
        "expected": None if overall is None else overall.expected,
        "detectable": _finite(verdict.detectable),
        "permuted_within": None if verdict.strata is None else verdict.strata.words,
        "exchangeable_share": _finite(verdict.exchangeable),
        "n_cells": verdict.n_cells,
        "n_batches": verdict.n_batches,
        "batches": [
            {
                name: _finite(value) if isinstance(value, float) else value
                for name, value in asdict(one).items()
            }
            for one in verdict.excess
        ],
        "likelihood": plain(likelihood),
        "mixing": plain(mixing),
        "sentences": sentences,
    }


def _evidence(tables: Mapping[str, pd.DataFrame]) -> Evidence:
    """``{"scvi__score_draws": table}`` by kind and model."""
    by_kind: dict[str, dict[str, pd.DataFrame]] = {"score_draws": {}, "cell_likelihood": {}}
    for argument, table in tables.items():
        name, _, kind = argument.rpartition("__")
        by_kind[kind][name] = table
    return Evidence(draws=by_kind["score_draws"], cells=by_kind["cell_likelihood"])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
