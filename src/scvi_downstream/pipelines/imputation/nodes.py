"""Denoised expression of the primary model, and how well it predicts counts that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.expression import ExpressionStream
from scvi_downstream.models import SavedModel
from scvi_downstream.parameters import ImputationOptions, Keys
from scvi_downstream.plots.imputation import plot_imputation
from scvi_downstream.plots.imputation_scores import plot_imputation_scores

from .denoising import check_batches, choose_genes, stream_expression
from .thinning import score_held_out_counts

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

__all__ = [
    "decode_counterfactual",
    "denoise_expression",
    "plot_imputation",
    "plot_imputation_scores",
    "score_imputation",
]


def denoise_expression(
    fitted: SavedModel,
    counts: AnnData,
    markers: pd.DataFrame,
    keys: Keys,
    options: ImputationOptions,
    seed: int,
    accelerator: str,
) -> ExpressionStream:
    """Denoised expression of every cell in its own batch, as a stream of blocks of cells.

    Parameters
    ----------
    fitted
        The primary model.
    counts
        Counts that it was fitted on.
    markers
        Table with a column ``gene``, used when ``options.genes`` is ``markers``.
    keys
        The study's obs columns.
    options
        Genes, posterior samples, library size, cells per block.
    seed
        Of the posterior samples.
    accelerator
        Where to compute.

    Returns
    -------
    Stream of ``(n_block, n_genes)`` float32, counts per ``library_size``.
    """
    genes = choose_genes(fitted.genes, counts, markers, options)
    model = fitted.attach(counts, accelerator=accelerator)
    return stream_expression(model, genes, options, batches=None, seed=seed, label="denoising")


def decode_counterfactual(
    fitted: SavedModel,
    counts: AnnData,
    markers: pd.DataFrame,
    keys: Keys,
    options: ImputationOptions,
    seed: int,
    accelerator: str,
) -> ExpressionStream:
    """Expression of every cell as if it came from the batches in ``transform_batch``, averaged over them.

    Parameters are those of :func:`denoise_expression`.

    Raises
    ------
    InputError
        Without a batch_key, or when a batch does not exist.
    """
    batches = check_batches(options.transform_batch, counts, keys.batch_key)
    genes = choose_genes(fitted.genes, counts, markers, options)
    model = fitted.attach(counts, accelerator=accelerator)
    return stream_expression(
        model, genes, options, batches=batches, seed=seed, label="decoding the counterfactual"
    )


def score_imputation(
    fitted: SavedModel, counts: AnnData, options: ImputationOptions, seed: int, accelerator: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Predict held-out counts of cells that the model was not trained on, beside three baselines.

    Parameters
    ----------
    fitted
        The primary model.
    counts
        Counts that it was fitted on.
    options
        ``score``: share of the counts held out, neighbours of the smoothing baseline, most cells.
    seed
        Of the thinning, the posterior samples and the bootstrap.
    accelerator
        Where to compute.

    Returns
    -------
    Scores of each method with 95 % intervals and a verdict; one row per gene with the
    correlation of each method.
    """
    return score_held_out_counts(
        fitted.attach(counts, accelerator=accelerator), counts, options.score, seed=seed
    )
