"""Which cells' proteins are hidden to score the imputation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.proteins import PROTEIN_KEY, measured_by_batch

if TYPE_CHECKING:
    from anndata import AnnData

HELD_OUT_SUFFIX = " (held out)"
BATCH_COLUMN = "protein_batch"
FEWEST_CELLS = 10
_SHARE = 3


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Cells whose proteins are hidden from the model.

    Attributes
    ----------
    name
        Of the batch.
    kind
        ``batch``: a batch that exists. ``random third``: cells of the only batch with proteins that are called a
        batch of their own; there is no batch effect to bridge, so that the score is an upper bound.
    cells
        ``(n_cells,)`` mask.
    batches
        Batch of every cell, as the model is told.
    sources
        Batches whose proteins the model sees.
    proteins
        Those with counts in the held-out cells and in every source.
    """

    name: str
    kind: Literal["batch", "random third"]
    cells: np.ndarray
    batches: pd.Series
    sources: tuple[str, ...]
    proteins: pd.Index


def choose_held_out(counts: AnnData, keys: Keys, options: ProteinsOptions, seed: int) -> list[HeldOut]:
    """The batches with proteins and fewest cells; with one such batch, a random third of its cells.

    Parameters
    ----------
    counts
        With ``obsm["protein_expression"]``.
    keys
        Batch.
    options
        How many.
    seed
        Of the random third.

    Returns
    -------
    At most ``max_held_out_batches``; none where there are too few cells.
    """
    if options.max_held_out_batches == 0:
        return []
    proteins = counts.obsm[PROTEIN_KEY]
    batches = (
        counts.obs[keys.batch_key].astype(str)
        if keys.batch_key
        else pd.Series("all cells", index=counts.obs_names)
    )
    measured = measured_by_batch(proteins, batches)
    sizes = batches.value_counts()
    with_any = [str(batch) for batch in measured.index[measured.any(axis=1)]]
    if len(with_any) == 1:
        return _random_third(batches, with_any[0], measured, seed)
    chosen = []
    for batch in sorted(with_any, key=lambda name: (sizes[name], name)):
        sources = tuple(other for other in with_any if other != batch)
        seen = measured.loc[list(sources)].all() & measured.loc[batch]
        if sizes[batch] >= FEWEST_CELLS and seen.any():
            cells = (batches == batch).to_numpy()
            chosen.append(
                HeldOut(batch, "batch", cells, batches.astype("category"), sources, proteins.columns[seen])
            )
    return chosen[: options.max_held_out_batches]


def _random_third(batches: pd.Series, batch: str, measured: pd.DataFrame, seed: int) -> list[HeldOut]:
    inside = np.flatnonzero((batches == batch).to_numpy())
    if len(inside) < _SHARE * FEWEST_CELLS:
        return []
    drawn = np.sort(np.random.default_rng(seed).choice(inside, len(inside) // _SHARE, replace=False))
    cells = np.zeros(len(batches), dtype=bool)
    cells[drawn] = True
    told = batches.mask(cells, batch + HELD_OUT_SUFFIX).astype("category")
    return [HeldOut(batch, "random third", cells, told, (batch,), measured.columns[measured.loc[batch]])]


def masked_counts(counts: AnnData, held_out: HeldOut) -> AnnData:
    """The modelled genes of all cells, without the proteins of those held out.

    Parameters
    ----------
    counts
        All cells, all genes; stays as it is.
    held_out
        Whose proteins become zero, which totalVI takes as not measured.

    Returns
    -------
    Copy with the obs column ``protein_batch``.
    """
    genes = counts[:, counts.var["highly_variable"].to_numpy()].copy()
    genes.obs[BATCH_COLUMN] = held_out.batches.to_numpy()
    genes.obs[BATCH_COLUMN] = genes.obs[BATCH_COLUMN].astype("category")
    hidden = genes.obsm[PROTEIN_KEY].copy()
    hidden.loc[held_out.cells] = 0
    # what only the held-out cells have would be missing everywhere
    genes.obsm[PROTEIN_KEY] = hidden[held_out.proteins]
    return genes
