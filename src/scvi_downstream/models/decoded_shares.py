"""Posterior draws of cells' normalised expression, each of which hangs on the seed and its own cell alone.

What needs cells for several purposes can then decode a draw once and use it wherever it is needed: it is the same
whatever else is decoded beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.models.scvi_internals import decode, encode, unchecked_distributions, without_dropout

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass

# In mini-batches of one size, filled up where cells are lacking, a row of a matrix product has the same bits wherever
# it stands; in smaller ones BLAS takes other paths.
_ROWS_AT_ONCE = 1024
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z | x) of some cells, and what else the decoder needs.

    ``row_of_cell`` is ``(n_all_cells,)``, the row of a cell in what follows, of no meaning for cells that were not
    encoded. ``mean`` and ``scale`` are ``(n_cells, n_latent)``, before the latent's transformation; ``library``
    ``(n_cells, 1)``; ``given`` batch, labels and covariates as registered.
    """

    row_of_cell: np.ndarray
    mean: torch.Tensor
    scale: torch.Tensor
    library: torch.Tensor
    given: dict[str, torch.Tensor]


def encode_cells(model: BaseModelClass, cells: np.ndarray) -> Posterior:
    """Encode cells, given by their positions ``(n_cells,)``, once each."""
    import torch
    from scvi.dataloaders import AnnDataLoader

    indices = _filled_up(cells)
    parts, given = [], []
    with torch.random.fork_rng():  # the encoder draws states, too, which are not used
        for tensors in AnnDataLoader(model.adata_manager, indices=indices, batch_size=_ROWS_AT_ONCE):
            found = encode(model, tensors, 1)
            parts.append((found["qz"].loc, found["qz"].scale, found["library"]))
            given.append({name: values for name, values in tensors.items() if name != "X"})
    mean, scale, library = map(torch.cat, zip(*parts, strict=True))
    joined = {name: torch.cat([each[name] for each in given]).to(mean.device) for name in given[0]}
    row_of_cell = np.zeros(model.adata.n_obs, dtype=np.int64)
    row_of_cell[cells] = np.arange(len(cells))
    return Posterior(row_of_cell, mean, scale, library, joined)


def decode_draws(
    model: BaseModelClass,
    posterior: Posterior,
    cells: np.ndarray,
    draws: np.ndarray,
    key: int,
    batches: np.ndarray | None,
    out: np.ndarray,
) -> None:
    """Decode draws of encoded cells into shares of expression.

    Parameters
    ----------
    model, posterior
        Fitted model and its :func:`encode_cells`.
    cells, draws
        ``(n_draws,)`` positions of cells, and which of a cell's draws is meant.
    key
        With a cell and the number of its draw it fixes the draw.
    batches
        Codes of the batches that they are decoded as, ``(n_draws,)``; ``None``: their own.
    out
        float32 ``(n_genes, n_draws)``, filled with shares of expression, which add up to one over genes.
    """
    import torch

    with torch.inference_mode(), unchecked_distributions(), without_dropout(model.module):
        for start in range(0, len(cells), _ROWS_AT_ONCE):
            places = slice(start, start + _ROWS_AT_ONCE)
            n = len(cells[places])
            chosen, numbers = _filled_up(cells[places]), _filled_up(draws[places])
            rows = torch.as_tensor(posterior.row_of_cell[chosen]).to(posterior.mean.device)
            noise = normal_noise(chosen, numbers, key, posterior.mean.shape[1])
            states = posterior.mean[rows] + posterior.scale[rows] * torch.as_tensor(noise).to(rows.device)
            given = {name: values[rows] for name, values in posterior.given.items()}
            if batches is not None:
                given["batch"] = torch.as_tensor(_filled_up(batches[places])[:, None]).to(given["batch"])
            latent = model.module.z_encoder.z_transformation(states)
            likelihood = decode(model, given, {"z": latent, "library": posterior.library[rows]})["px"]
            out[:, places] = likelihood.get_normalized("scale")[:n].T.cpu().numpy()


def _filled_up(values: np.ndarray) -> np.ndarray:
    """Repeated from the beginning until a whole number of mini-batches is full."""
    return np.resize(values, -(-len(values) // _ROWS_AT_ONCE) * _ROWS_AT_ONCE)


def normal_noise(cells: np.ndarray, draws: np.ndarray, key: int, n_columns: int) -> np.ndarray:
    """Standard normal numbers that are a function of cell, draw, column and key: a generator for each cell costs more.

    Parameters
    ----------
    cells, draws
        ``(n,)`` integers that are not negative.
    key
        Of another key they are other numbers.
    n_columns
        Independent columns.

    Returns
    -------
    float32 ``(n, n_columns)``.

    References
    ----------
    The counters are mixed by SplitMix64; Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195.
    """
    from scipy.special import ndtri

    state = np.full(len(cells), key, dtype=np.uint64)
    for counter in (cells, draws):
        state = _mixed(state + _GOLDEN * (counter.astype(np.uint64) + np.uint64(1)))
    columns = np.arange(1, n_columns + 1, dtype=np.uint64)
    bits = _mixed(state[:, None] + _GOLDEN * columns) >> np.uint64(11)
    return ndtri((bits + 0.5) * 2.0**-53).astype(np.float32)


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
