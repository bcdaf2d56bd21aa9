"""Corrected expression: every cell decoded as every batch, and the average over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.normalization import TARGET_SUM
from scvi_downstream.parameters import BatchEffectOptions
from scvi_downstream.progress import track

from .design import Design

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

    from scvi_downstream.models import SavedModel

_CELLS_AT_ONCE = 512


def why_not_corrected(fitted: SavedModel, options: BatchEffectOptions) -> str | None:
    """Reason why there is no corrected expression, if there is one."""
    if not options.corrected:
        return "batch_effects.corrected is false"
    family = FAMILIES.get(fitted.family)
    if family is None or "normalized_expression" not in family.can:
        return f"{fitted.family} does not decode expression"
    if fitted.setup.get("batch_key") is None:
        return "the model was fitted without batches (correct_batch is false)"
    return None


def decode_corrected(
    fitted: SavedModel,
    counts: AnnData,
    batch_key: str,
    design: Design,
    options: BatchEffectOptions,
    *,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Log expression per 10,000 that the model expects of each cell, averaged over all batches.

    Parameters
    ----------
    fitted
        Model that was set up with ``batch_key``.
    counts
        Counts that it was fitted on.
    batch_key
        Obs column of the batches.
    design
        Cells to decode.
    options
        Posterior samples.
    seed
        Of the posterior samples.
    accelerator
        Where to compute.

    Returns
    -------
    ``n_cells`` × ``n_modelled_genes`` float32.

    Raises
    ------
    InputError
        The model was fitted with another batch_key, or none.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    modelled = fitted.setup.get("batch_key")
    if modelled != batch_key:
        raise InputError(
            f"the model in {fitted.save_dir} was fitted with batch_key '{modelled}', not '{batch_key}': "
            "run training again, or set batch_effects.corrected to false"
        )
    model = fitted.attach(counts, accelerator=accelerator)
    batches = [str(name) for name in counts.obs[batch_key].cat.categories]
    starts = range(0, len(design.positions), _CELLS_AT_ONCE)
    blocks = [
        _decode(model, design.positions[start : start + _CELLS_AT_ONCE], batches, options, seed + block)
        for block, start in enumerate(track(starts, "decoding corrected expression", len(starts)))
    ]
    genes = pd.Index(model.adata.var_names.astype(str))
    return pd.DataFrame(np.concatenate(blocks), index=design.cells.rename("cell"), columns=genes)


def _decode(
    model: BaseModelClass, rows: np.ndarray, batches: list[str], options: BatchEffectOptions, seed: int
) -> np.ndarray:
    with reproducible(seed):
        values = model.get_normalized_expression(
            indices=rows,
            transform_batch=batches,
            library_size=TARGET_SUM,
            n_samples=options.n_samples,
            return_mean=True,
            return_numpy=True,
        )
    return np.log1p(np.asarray(values, dtype=np.float32))


def leading_components(expression: pd.DataFrame, n_components: int, seed: int) -> pd.DataFrame:
    """Principal components of ``n_cells`` × ``n_genes`` expression: ``PC_1``, …, as many as the data allow."""
    from sklearn.decomposition import PCA

    values = expression.to_numpy()
    possible = min(n_components, min(values.shape) - 1)
    scores = PCA(possible, svd_solver="arpack", random_state=seed).fit_transform(values - values.mean(axis=0))
    names = [f"PC_{i + 1}" for i in range(possible)]
    return pd.DataFrame(scores.astype(np.float32), index=expression.index, columns=names)
