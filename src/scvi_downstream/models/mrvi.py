"""MrVI, which tells what samples change in every cell: Boyeau et al. (2024), doi:10.1101/2022.10.04.510898."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt, model_validator

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import Progress, duration
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.runtime.words import up_to

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from anndata import AnnData
    from scvi.external import MRVI

logger = logging.getLogger(__name__)


FEWEST_SAMPLES = 2
FEWEST_CELLS_OF_SAMPLE = 10
STATES_PER_SECOND = 200_000  # of a cell in a sample, measured on one core
DISTANCES_PER_SECOND = 200_000_000


class MrviSpec(ModelSpec):
    """Hyperparameters of :class:`scvi.external.MRVI`.

    ``u`` (``n_latent_u``) describes a cell apart from its sample, and is what is embedded and clustered; ``z``
    (``n_latent``) adds what the sample changes.
    """

    family: Literal["MRVI"] = "MRVI"
    n_latent: PositiveInt = 30
    n_latent_u: PositiveInt = 10
    encoder_n_hidden: PositiveInt = 128
    encoder_n_layers: PositiveInt = 2
    z_u_prior: bool = True
    z_u_prior_scale: float = 0.0
    learn_z_u_prior_scale: bool = False
    u_prior_mixture: bool = True
    u_prior_mixture_k: PositiveInt = 20
    scale_observations: bool = False

    title = "MrVI"
    description = "MrVI, which compares samples [@boyeau2022]"
    paper = "Boyeau et al. (2024), doi:10.1101/2022.10.04.510898"
    module = "scvi.external"
    size_of_latent = "n_latent_u"
    bound = "mrvi_log_weights"
    why_not_minified = "scvi-tools has no minified form of MrVI"
    needs = frozenset({"samples"})
    can = frozenset({"sample_distances", "marginal_likelihood"})
    obsm_key = "X_mrVI_u"

    @model_validator(mode="after")
    def _what_scvi_tools_can_build(self) -> MrviSpec:
        if not self.u_prior_mixture:
            raise ValueError("scvi-tools' MRVI fails without the mixture prior of u; leave it at true")
        z, u = self.n_latent, self.n_latent_u
        if z < u:
            raise ValueError(f"n_latent ({z}) is below n_latent_u ({u}), but z contains u")
        return self

    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """Samples and batch, with warnings about what makes samples hard to compare.

        Raises
        ------
        InputError
            With fewer than two samples, or without the column of samples crossed with conditions.
        """
        from scvi_downstream.cells.obs import sample_column

        samples = sample_column(genes.obs, keys)
        for warning in sample_warnings(genes.obs, samples):
            logger.warning("%s: %s", self.name, warning)
        batch, reason = nuisance_batch(genes.obs, keys)
        if reason:
            logger.warning("%s: %s", self.name, reason)
        logger.info("%s: %s", self.name, read_out_forecast(genes.n_obs, genes.obs[samples].nunique()))
        ignored = [*keys.categorical_covariates, *keys.continuous_covariates]
        if ignored:
            logger.warning("%s: MrVI takes no covariates; it does not see %s", self.name, ", ".join(ignored))
        return {"sample_key": samples, "batch_key": batch}


def read_out_forecast(n_cells: int, n_samples: int) -> str:
    """What comparing all samples in all cells will take after the training, in words."""
    seconds = n_cells * n_samples / STATES_PER_SECOND + n_cells * n_samples**2 / DISTANCES_PER_SECOND
    return (
        f"distances of {n_samples} samples in {n_cells:,} cells take about {duration(seconds)} on one CPU core "
        "afterwards, in memory that does not grow with the cells"
    )


def sample_warnings(obs: pd.DataFrame, column: str) -> list[str]:
    """What makes the samples in a column hard to compare.

    Raises
    ------
    InputError
        With fewer than two samples.
    """
    sizes = obs[column].value_counts().loc[lambda size: size > 0]
    if len(sizes) < FEWEST_SAMPLES:
        raise InputError(
            f"sample_key: '{column}' holds {len(sizes)} sample, and MrVI compares at least {FEWEST_SAMPLES}; "
            "name the column of donors or libraries, or leave the model out"
        )
    small = sizes[sizes < FEWEST_CELLS_OF_SAMPLE]
    if small.empty:
        return []
    named = up_to([f"'{name}' ({size})" for name, size in small.items()], 5)
    return [
        f"{len(small)} of {len(sizes)} samples of '{column}' have fewer than {FEWEST_CELLS_OF_SAMPLE} cells, "
        f"from which little can be learnt: {named}"
    ]


def nuisance_batch(obs: pd.DataFrame, keys: Keys) -> tuple[str | None, str | None]:
    """The obs column of the batch that MrVI corrects for, and why it corrects for none although there is one.

    Where a batch holds one sample or one condition only, correcting for the batch takes away what samples and
    conditions change.
    """
    from scvi_downstream.cells.obs import constant_within

    batch = keys.batch_key
    if batch is None or obs[batch].nunique() < 2:
        return None, None
    asked = {"sample": keys.sample_key, "condition": keys.condition_key}
    for kind, column in asked.items():
        if column is None or obs[column].nunique() < 2:
            continue
        if column == batch or constant_within(obs[column], obs[batch]):
            return None, (
                f"batch_key '{batch}' is not corrected, as each of its batches holds one {kind} of '{column}' only, "
                f"and correcting for it would take away what {kind}s change"
            )
    return batch, None


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
    import numpy as np

    target = _sample_codes(model, [sample])
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
        family = type(model).__name__
        raise InputError(f"a model of the family '{family}' has no samples; use one of the family MRVI")
    return [str(name) for name in model.sample_order]


def _sample_codes(model: MRVI, samples: Sequence[str] | None = None) -> np.ndarray:
    """Codes of samples by their names; ``None``: of all. A name that the model does not know raises an InputError."""
    import numpy as np

    known = sample_names(model)
    for name in samples or ():
        if name not in known:
            raise InputError(f"the model knows no sample '{name}'{closest(name, known)}")
    return np.array([known.index(name) for name in (known if samples is None else samples)])


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

    codes = _sample_codes(model) if samples is None else samples
    module = model.module.eval()
    loader = AnnDataLoader(model.adata_manager, indices=cells, batch_size=batch_size)
    progress = Progress(label, len(cells)) if label else None
    done = 0
    for tensors in loader:
        own = tensors[REGISTRY_KEYS.SAMPLE_KEY]
        with torch.inference_mode(), quiet():
            posterior = module.qu(tensors[REGISTRY_KEYS.X_KEY], own, training=False)
            u = posterior.mean
            base, shifts = _shifts_of(model, u, codes)
        n_cells = len(u)
        yield LocalStates(
            cells=cells[done : done + n_cells],
            u=u,
            scale=posterior.scale,
            own=own.flatten().long().to(u.device),
            base=base,
            shifts=shifts,
            batch=tensors[REGISTRY_KEYS.BATCH_KEY].to(u.device),
            label=tensors[REGISTRY_KEYS.LABELS_KEY].to(u.device),
        )
        done += n_cells
        if progress:
            progress.advance(n_cells)


def _shifts_of(model: MRVI, u: torch.Tensor, samples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What of z comes from ``u``, ``(n_cells, n_latent)``, and what samples add, ``(n_cells, n_samples, n_latent)``."""
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
    """Expected share of each modelled gene, ``(n_cells, n_genes)``, of states ``z`` in the cells' own batches."""
    import torch

    library = torch.zeros((len(z), 1), device=z.device)
    with torch.inference_mode(), quiet():
        made = model.module.generative(z, library, batch_index=states.batch, label_index=states.label)
    return made["h"]


def gene_positions(model: MRVI, genes: Sequence[str] | None) -> np.ndarray:
    """Positions of modelled genes; ``None``: of all. A gene that is not modelled raises an InputError."""
    import numpy as np

    modelled = model.adata.var_names
    if genes is None:
        return np.arange(len(modelled))
    for gene in genes:
        if gene not in modelled:
            known = f"the {len(modelled)} modelled genes{closest(gene, modelled)}"
            raise InputError(f"gene '{gene}' is not among {known}")
    return modelled.get_indexer(list(genes))
