"""MrVI, which tells what samples change in every cell: Boyeau et al. (2024), doi:10.1101/2022.10.04.510898."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt, model_validator

from scvi_downstream.errors import InputError
from scvi_downstream.models.specification import Capability, ModelSpec, Need
from scvi_downstream.parameters import Keys
from scvi_downstream.progress import duration
from scvi_downstream.samples import constant_within, sample_column

if TYPE_CHECKING:
    import pandas as pd
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

    needs: ClassVar[frozenset[Need]] = frozenset({"samples"})
    can: ClassVar[frozenset[Capability]] = frozenset({"sample_distances", "marginal_likelihood"})
    obsm_key: ClassVar[str] = "X_mrVI_u"

    @model_validator(mode="after")
    def _what_scvi_tools_can_build(self) -> MrviSpec:
        if not self.u_prior_mixture:
            raise ValueError("scvi-tools' MRVI fails without the mixture prior of u; leave it at true")
        if self.n_latent < self.n_latent_u:
            raise ValueError(
                f"n_latent ({self.n_latent}) is below n_latent_u ({self.n_latent_u}), but z contains u"
            )
        return self

    def build(self, genes: AnnData, keys: Keys) -> MRVI:
        """Register ``genes`` and make the untrained model.

        Raises
        ------
        InputError
            With fewer than two samples, or without the column of samples crossed with conditions.
        """
        from scvi.external import MRVI

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
        MRVI.setup_anndata(genes, sample_key=samples, batch_key=batch)
        return MRVI(genes, **self.hyperparameters)


def read_out_forecast(n_cells: int, n_samples: int) -> str:
    """What comparing all samples in all cells will take after the training, in words."""
    seconds = n_cells * n_samples / STATES_PER_SECOND + n_cells * n_samples**2 / DISTANCES_PER_SECOND
    return (
        f"distances of {n_samples} samples in {n_cells:,} cells take about {duration(seconds)} on one CPU core "
        "afterwards, in memory that does not grow with the cells"
    )


def sample_warnings(obs: pd.DataFrame, column: str) -> list[str]:
    """What makes samples hard to compare.

    Parameters
    ----------
    obs
        One row a cell.
    column
        Of the samples.

    Raises
    ------
    InputError
        With fewer than two samples.
    """
    sizes = obs[column].value_counts()
    sizes = sizes[sizes > 0]
    if len(sizes) < FEWEST_SAMPLES:
        raise InputError(
            f"sample_key: '{column}' holds {len(sizes)} sample, and MrVI compares at least {FEWEST_SAMPLES}; "
            "name the column of donors or libraries, or leave the model out"
        )
    small = sizes[sizes < FEWEST_CELLS_OF_SAMPLE]
    if small.empty:
        return []
    named = ", ".join(f"'{name}' ({size})" for name, size in small.head(5).items())
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    return [
        f"{len(small)} of {len(sizes)} samples of '{column}' have fewer than {FEWEST_CELLS_OF_SAMPLE} cells, "
        f"from which little can be learnt: {named}{more}"
    ]


def nuisance_batch(obs: pd.DataFrame, keys: Keys) -> tuple[str | None, str | None]:
    """The batch that MrVI corrects for, and why it corrects for none although there is one.

    Where a batch holds one sample or one condition only, correcting for the batch takes away what samples and
    conditions change.

    Parameters
    ----------
    obs
        One row a cell, with the study's keys.
    keys
        Those that the model is given.

    Returns
    -------
    The obs column or ``None``; a sentence or ``None``.
    """
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
