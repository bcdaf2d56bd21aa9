"""What MrVI holds of a cell had it come from another sample: its latent state and its expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.errors import InputError, closest
from scvi_downstream.models.quiet import quiet
from scvi_downstream.progress import Progress

if TYPE_CHECKING:
    import torch
    from scvi.external import MRVI


@dataclass(frozen=True, eq=False)
class LocalStates:
    """Some cells as each sample would have them.

    Attributes
    ----------
    cells
        ``(n_cells,)`` positions.
    u
        ``(n_cells, n_latent_u)`` state apart from the sample, the posterior mean.
    scale
        ``(n_cells, n_latent_u)`` standard deviation of that posterior.
    own
        ``(n_cells,)`` code of the sample that the cell is of.
    base
        ``(n_cells, n_latent)`` what of z comes from u alone.
    shifts
        ``(n_cells, n_samples, n_latent)`` what each sample adds to it; ``z = base + shifts``.
    batch, label
        ``(n_cells, 1)`` codes, for the decoder.
    """

    cells: np.ndarray
    u: torch.Tensor
    scale: torch.Tensor
    own: torch.Tensor
    base: torch.Tensor
    shifts: torch.Tensor
    batch: torch.Tensor
    label: torch.Tensor


def decode_as_sample(
    model: MRVI,
    cells: np.ndarray,
    sample: str,
    *,
    genes: Sequence[str] | None = None,
    batch_size: int = 256,
    library_size: float = 1e4,
) -> np.ndarray:
    """Expected expression of cells "as if from a sample": the cells' u, the sample's shift, the decoder's mean.

    Every cell keeps its batch. Nothing is drawn: u is the posterior mean, so the same call gives the same bits.

    Parameters
    ----------
    model
        Fitted ``MRVI`` with its cells.
    cells
        ``(n_cells,)`` positions in ``model.adata``, of any sample.
    sample
        Name of the target sample, one of :func:`sample_names`.
    genes
        Names of modelled genes; ``None``: all.
    batch_size
        Cells at once; a mini-batch holds ``batch_size × n_modelled_genes`` values.
    library_size
        Counts of a cell, which all modelled genes add up to.

    Returns
    -------
    ``(n_cells, n_genes)`` float32, genes in the order asked for.

    Raises
    ------
    InputError
        When the model has no such sample or gene, or is no MrVI.

    References
    ----------
    Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    target = sample_codes(model, [sample])
    columns = gene_positions(model, genes)
    expression = np.empty((len(cells), len(columns)), dtype=np.float32)
    done = 0
    for states in local_states(model, cells, samples=target, batch_size=batch_size):
        decoded = decode(model, states, states.base + states.shifts[:, 0]) * library_size
        expression[done : done + len(states.cells)] = decoded[:, columns].cpu().numpy()
        done += len(states.cells)
    return expression


def sample_names(model: MRVI) -> list[str]:
    """Samples that the model knows, in its order."""
    if not hasattr(model, "sample_order"):
        raise InputError(
            f"a model of the family '{type(model).__name__}' has no samples; use one of the family MRVI"
        )
    return [str(name) for name in model.sample_order]


def sample_codes(model: MRVI, samples: Sequence[str] | None = None) -> np.ndarray:
    """Codes of samples by their names; ``None``: of all.

    Raises
    ------
    InputError
        Names the closest sample.
    """
    known = sample_names(model)
    if samples is None:
        return np.arange(len(known))
    for name in samples:
        if name not in known:
            raise InputError(f"the model knows no sample '{name}'{closest(name, known)}")
    return np.array([known.index(name) for name in samples])


def local_states(
    model: MRVI,
    cells: np.ndarray,
    *,
    samples: np.ndarray | None = None,
    batch_size: int = 256,
    label: str | None = None,
) -> Iterator[LocalStates]:
    """Mini-batches of cells as each sample would have them, in the order of ``cells``.

    The encoder runs once a cell; scvi-tools runs it once a cell and sample.

    Parameters
    ----------
    model
        Fitted ``MRVI`` with its cells.
    cells
        Positions in ``model.adata``.
    samples
        Codes of the samples; ``None``: all.
    batch_size
        Cells at once; a mini-batch holds ``batch_size × n_samples × n_latent`` values.
    label
        Of the progress line; ``None``: none.
    """
    import torch
    from scvi import REGISTRY_KEYS
    from scvi.dataloaders import AnnDataLoader

    codes = sample_codes(model) if samples is None else samples
    module = model.module.eval()
    loader = AnnDataLoader(model.adata_manager, indices=cells, batch_size=batch_size)
    progress = Progress(label, len(cells)) if label else None
    done = 0
    for tensors in loader:
        with torch.inference_mode(), quiet():
            posterior = module.qu(
                tensors[REGISTRY_KEYS.X_KEY], tensors[REGISTRY_KEYS.SAMPLE_KEY], training=False
            )
            u = posterior.mean
            base, shifts = shifts_of(model, u, codes)
        n_cells = len(u)
        yield LocalStates(
            cells=cells[done : done + n_cells],
            u=u,
            scale=posterior.scale,
            own=tensors[REGISTRY_KEYS.SAMPLE_KEY].flatten().long().to(u.device),
            base=base,
            shifts=shifts,
            batch=tensors[REGISTRY_KEYS.BATCH_KEY].to(u.device),
            label=tensors[REGISTRY_KEYS.LABELS_KEY].to(u.device),
        )
        done += n_cells
        if progress:
            progress.advance(n_cells)


def shifts_of(model: MRVI, u: torch.Tensor, samples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What samples make of states u.

    Parameters
    ----------
    model
        Fitted ``MRVI``.
    u
        ``(n_cells, n_latent_u)``.
    samples
        ``(n_samples,)`` codes.

    Returns
    -------
    What of z comes from u, ``(n_cells, n_latent)``, and what each sample adds, ``(n_cells, n_samples, n_latent)``.
    """
    import torch

    module = model.module
    n_cells, n_samples = len(u), len(samples)
    repeated = u.repeat_interleave(n_samples, dim=0)
    codes = torch.as_tensor(samples, device=u.device).repeat(n_cells)
    base, shifts = module.qz(repeated, codes)
    # with a posterior of the shift, its means come first
    shifts = shifts[..., : module.n_latent].reshape(n_cells, n_samples, module.n_latent)
    return base.reshape(n_cells, n_samples, -1)[:, 0], shifts


def decode(model: MRVI, states: LocalStates, z: torch.Tensor) -> torch.Tensor:
    """Expected share of each modelled gene, ``(n_cells, n_genes)``, in the cells' own batches.

    Parameters
    ----------
    model
        Fitted ``MRVI``.
    states
        The cells.
    z
        ``(n_cells, n_latent)`` state to decode.
    """
    import torch

    with torch.inference_mode(), quiet():
        library = torch.zeros((len(z), 1), device=z.device)
        return model.module.generative(
            z=z, library=library, batch_index=states.batch, label_index=states.label
        )["h"]


def gene_positions(model: MRVI, genes: Sequence[str] | None) -> np.ndarray:
    """Positions of modelled genes; ``None``: of all.

    Raises
    ------
    InputError
        Names the closest gene.
    """
    modelled = model.adata.var_names
    if genes is None:
        return np.arange(len(modelled))
    positions = modelled.get_indexer(list(genes))
    if (positions < 0).any():
        missing = str(list(genes)[int(np.argmax(positions < 0))])
        raise InputError(
            f"gene '{missing}' is not among the {len(modelled)} modelled genes{closest(missing, modelled)}"
        )
    return positions
