"""Proteins as totalVI decodes them: foreground, background, and which of the two a count comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import measured_by_batch
from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.models.families import require_capability
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.proteins.neighbors import (
    TOTALVI_ITSELF,
    choose_imputation,
    coordinates,
    impute_from_neighbors,
    not_measured,
)
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import TOTALVI, AnnData

_ENTRIES_AT_ONCE = 2_000_000
"""Draws × genes that a mini-batch of cells may hold."""
_MOST_CELLS_AT_ONCE = 512


class DecodedProteins(NamedTuple):
    """Moments over draws of the posterior; each ``(n_cells, n_proteins)`` float32.

    Attributes
    ----------
    mean, sd
        Of the foreground: the expected count without background, (1 - π) times the foreground's rate.
    foreground
        Mean probability 1 - π that a count comes from the foreground.
    expected
        Mean of the expected count, background included: what a measured count is compared with.
    """

    mean: np.ndarray
    sd: np.ndarray
    foreground: np.ndarray
    expected: np.ndarray


def denoise_proteins(
    fitted: SavedModel,
    counts: AnnData,
    pca_latent: pd.DataFrame,
    protein_imputation: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Expected counts without background, their uncertainty, and the probability of the foreground.

    Parameters
    ----------
    fitted, counts, keys
        Saved totalVI; counts and proteins that it was fitted on; batch.
    pca_latent, protein_imputation
        Principal components of the RNA; scores of :func:`.imputation.score_protein_imputation`, which say whether
        totalVI or nearest neighbours impute.
    options, seed, accelerator
        Number of draws and neighbours; of the draws; where to decode.

    Returns
    -------
    Three tables `n_cells` × `n_proteins`: posterior means and standard deviations of the foreground's expected
    count, without the efficiency of the batch; mean probability that a count is of the foreground. Proteins that a
    batch did not measure are decoded as of the batches that did, or those of :func:`.neighbors.impute_from_neighbors`.
    """
    model = attach_totalvi(fitted, counts, accelerator)
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    decoded, measured = decode_all(model, batches, n_samples=options.n_samples, seed=seed)
    cells, proteins = counts.obs_names.rename("cell"), counts.obsm[PROTEIN_KEY]
    moments, method = list(decoded[:3]), choose_imputation(protein_imputation)
    if batches is not None and method != TOTALVI_ITSELF:
        points = coordinates(method, model, pca_latent, cells)
        moments = impute_from_neighbors(moments, measured, proteins, batches, points, options.n_neighbors)
    mean, sd, foreground = (pd.DataFrame(each, index=cells, columns=proteins.columns) for each in moments)
    return mean, sd, foreground


def attach_totalvi(fitted: SavedModel, counts: AnnData, accelerator: str) -> Any:
    """The fitted totalVI with its cells.

    Raises
    ------
    InputError
        The model is not one of proteins, or there are none.
    """
    require_proteins(fitted.family, counts)
    return fitted.attach(counts, accelerator)


def require_proteins(family: str, counts: AnnData) -> None:
    """Refuse a model that is not one of proteins, and counts that bring none.

    Raises
    ------
    InputError
        Names what is missing.
    """
    require_capability(family, "proteins", "proteins")
    if PROTEIN_KEY not in counts.obsm:
        raise InputError(
            f"the counts bring no proteins (obsm['{PROTEIN_KEY}']); set protein_key to the obsm entry that holds them"
        )


def decode(
    model: TOTALVI, cells: np.ndarray, batches: Sequence[str] | None, *, n_samples: int, seed: int, label: str
) -> DecodedProteins:
    """Decode the proteins of some cells as of their own batch, or as the average of other batches.

    The efficiency that totalVI learns of each protein in each batch is left out, as in scvi-tools'
    ``get_normalized_expression``, whose values these are, so that they compare across batches.

    Parameters
    ----------
    cells
        Positions of the ``n_cells`` cells.
    batches
        To decode as, by name; ``None``: each cell's own.
    n_samples, seed
        Draws of the posterior; the same draws of the latent state in every batch.
    label
        What the progress line says.

    References
    ----------
    Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x.
    """
    codes: list[int | None] = [None]
    if batches is not None:
        known = model.adata_manager.get_state_registry("batch").categorical_mapping.astype(str).tolist()
        codes = [known.index(str(batch)) for batch in batches]
    at_once = int(np.clip(_ENTRIES_AT_ONCE // (n_samples * model.adata.n_vars), 1, _MOST_CELLS_AT_ONCE))
    model.module.eval()
    progress = Progress(label, len(cells))
    parts = []
    for start in range(0, len(cells), at_once):
        chunk = cells[start : start + at_once]
        parts.append(_decode_chunk(model, chunk, codes, n_samples, seed + start))
        progress.advance(len(chunk))
    n_proteins = model.adata.obsm[PROTEIN_KEY].shape[1]
    empty = [np.zeros((4, 0, n_proteins), np.float32)]
    return DecodedProteins(*np.concatenate(parts or empty, axis=1))


def _decode_chunk(
    model: TOTALVI, cells: np.ndarray, codes: Sequence[int | None], n_samples: int, seed: int
) -> np.ndarray:
    import torch
    from scvi.dataloaders import AnnDataLoader

    (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=len(cells))
    foreground: Any = 0.0
    background: Any = 0.0
    probability: Any = 0.0
    for code in codes:
        with reproducible(seed % 2**32), torch.inference_mode():
            _, generative = model.module.forward(
                tensors,
                inference_kwargs={"n_samples": n_samples},
                generative_kwargs={"transform_batch": code},
                compute_loss=False,
            )
        proteins = generative["py_"]
        from_background = torch.sigmoid(proteins["mixing"])
        foreground = foreground + proteins["rate_fore"] * (1 - from_background) / len(codes)
        background = background + proteins["rate_back"] * from_background / len(codes)
        probability = probability + (1 - from_background) / len(codes)
    moments = (
        foreground.mean(0), foreground.std(0), probability.mean(0), (foreground + background).mean(0),
    )  # fmt: skip
    return np.stack([moment.cpu().numpy() for moment in moments]).astype(np.float32)


def decode_all(
    model: TOTALVI, batches: pd.Series | None, *, n_samples: int, seed: int
) -> tuple[DecodedProteins, pd.DataFrame]:
    """Every protein of every cell: as of its own batch where measured, else as of the batches that measured it.

    The decoded proteins, and whether each was measured: batches × proteins. ``batches`` of ``None``: the study
    knows none.
    """
    measured = measured_by_batch(model.adata.obsm[PROTEIN_KEY], batches)
    if model.module.protein_batch_mask is None:
        measured = measured | True  # override_missing_proteins: zeros count as measured
    own = decode(
        model, np.arange(model.adata.n_obs), None, n_samples=n_samples, seed=seed, label="denoising proteins"
    )
    if batches is None:
        return own, measured
    moments = np.stack(own)
    names = batches.astype(str).to_numpy()
    for batch, source, absent in not_measured(measured):
        cells, label = np.flatnonzero(names == batch), f"imputing proteins of '{batch}'"
        decoded = decode(model, cells, source, n_samples=n_samples, seed=seed, label=label)
        moments[:, cells[:, None], absent] = np.stack(decoded)[:, :, absent]
    return DecodedProteins(*moments), measured
