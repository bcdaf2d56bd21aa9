"""Denoised expression of the primary model, decoded block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import ExpressionStream
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData

_FEWEST_CELLS_AT_ONCE = 128  # Of smaller blocks scvi-tools would spend more time on each than on its cells.
_MINI_BATCH = 1024  # Twice as fast as scvi-tools' own 128; memory is bounded by the block.


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
    fitted, counts
        The primary model, and the counts that it was fitted on.
    markers
        Table with a column ``gene``, used when ``options.genes`` is ``markers``.
    keys, options
        The study's obs columns; genes, posterior samples, library size, cells per block.
    seed, accelerator
        Seed of the posterior samples, and where to compute.

    Returns
    -------
    Stream of ``(n_block, n_genes)`` float32: counts per ``library_size``, or expected counts when it is ``latent``.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    genes = _choose_genes(fitted.genes, counts, markers, options)
    return _stream_expression(fitted.attach(counts, accelerator), genes, options, None, seed, "denoising")


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
    batches = _check_batches(options.transform_batch, counts, keys.batch_key)
    genes = _choose_genes(fitted.genes, counts, markers, options)
    label = "decoding the counterfactual"
    return _stream_expression(fitted.attach(counts, accelerator), genes, options, batches, seed, label)


def _choose_genes(
    modelled: pd.Index, counts: AnnData, markers: pd.DataFrame, options: ImputationOptions
) -> pd.Index:
    """The genes to decode (all, markers or a list), in the order of the model.

    ``counts`` hold all genes of the study, to tell an absent gene from one that is not highly variable.
    """
    if options.genes == "all":
        return modelled
    if options.genes == "markers":
        chosen = modelled[modelled.isin(markers["gene"])]
        if chosen.empty:
            raise InputError(
                f"imputation.genes is 'markers', but none of the {len(markers)} rows of markers is a "
                "modelled gene; set it to 'all' or to a list of genes"
            )
        return chosen
    for gene in options.genes:
        if gene in modelled:
            continue
        if gene in counts.var_names:
            raise InputError(
                f"imputation.genes: '{gene}' is in the counts but not highly variable, so the model has no "
                "value for it; raise preparation.n_top_genes or leave it out"
            )
        raise InputError(f"imputation.genes: '{gene}' is not in the counts{closest(gene, modelled)}")
    return modelled[modelled.isin(options.genes)]


def _check_batches(wanted: Sequence[str], counts: AnnData, batch_key: str | None) -> list[str]:
    """The batches of ``transform_batch``, at least one, each of which the model must know."""
    if batch_key is None:
        raise InputError(
            "imputation.transform_batch needs batch_key: the model knows no batches to decode as"
        )
    if not wanted:
        raise InputError(
            "imputation.transform_batch is empty; name at least one batch to decode every cell as"
        )
    known = [str(batch) for batch in counts.obs[batch_key].cat.categories]
    for batch in wanted:
        if batch not in known:
            raise InputError(
                f"imputation.transform_batch: '{batch}' is not in obs['{batch_key}']{closest(batch, known)}"
            )
    return list(wanted)


def _stream_expression(
    model: Any, genes: pd.Index, options: ImputationOptions, batches: list[str] | None, seed: int, label: str
) -> ExpressionStream:
    """Decode all cells in blocks; nothing is computed before the first block is asked for.

    Block ``b`` is ``model.get_normalized_expression`` of its cells after seeding with ``seed + b``. With
    ``n_samples`` posterior samples a block holds that many times fewer cells, so that memory depends neither
    on the number of cells nor on the samples. Every cell is decoded as of ``batches``, averaged over them, or as of its
    own batch (``None``).
    """
    cells = pd.Index(model.adata.obs_names, name="cell")
    per_block = min(options.chunk_cells, max(_FEWEST_CELLS_AT_ONCE, options.chunk_cells // options.n_samples))
    scale = {"library_size": options.library_size, "n_samples": options.n_samples}
    gene_list = None if len(genes) == model.adata.n_vars else list(genes)

    def decode() -> Iterator[np.ndarray]:
        starts = range(0, len(cells), per_block)
        for block, start in enumerate(track(starts, label, len(starts))):
            with reproducible(seed + block):
                values = model.get_normalized_expression(
                    indices=np.arange(start, min(start + per_block, len(cells))),
                    gene_list=gene_list,
                    transform_batch=batches,
                    return_mean=True,
                    return_numpy=True,
                    batch_size=max(_FEWEST_CELLS_AT_ONCE, _MINI_BATCH // options.n_samples),
                    **scale,
                )
            yield np.ascontiguousarray(values, dtype=np.float32)

    attributes = scale | {"transform_batch": batches or [], "seed": seed}
    return ExpressionStream(cells, pd.Index(genes, name="gene"), decode(), per_block, attributes)
