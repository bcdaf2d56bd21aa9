"""totalVI, for RNA and surface proteins of the same cells: Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt, model_validator

from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.models.specification import Dropout, ModelSpec, covariate_arguments
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
FEWEST_PROTEINS_OF_PRIOR = 5
# TOTALVI.train overwrites these of plan_kwargs with its own defaults, so that they must be its arguments.
_OWN_ARGUMENTS = ("lr", "reduce_lr_on_plateau", "n_epochs_kl_warmup")


class TotalviSpec(ModelSpec):
    """Hyperparameters of :class:`scvi.model.TOTALVI`.

    Proteins that are zero in all cells of a batch are taken as not measured there, and then a classifier of the batch
    is trained against the encoder; ``override_missing_proteins`` takes them as measured zeros.
    """

    family: Literal["TOTALVI"] = "TOTALVI"
    n_latent: PositiveInt = 20
    n_hidden: PositiveInt = 256
    n_layers_encoder: PositiveInt = 2
    n_layers_decoder: PositiveInt = 1
    dropout_rate_encoder: Dropout = 0.2
    dropout_rate_decoder: Dropout = 0.2
    gene_dispersion: Literal["gene", "gene-batch"] = "gene"
    protein_dispersion: Literal["protein", "protein-batch"] = "protein"
    gene_likelihood: Literal["nb", "zinb"] = "nb"
    latent_distribution: Literal["normal", "ln"] = "normal"
    empirical_protein_background_prior: bool | None = None
    override_missing_proteins: bool = False
    encode_covariates: bool = True
    use_observed_lib_size: bool = True

    title = "totalVI"
    description = "totalVI, of RNA and proteins [@gayoso2021]"
    paper = "Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x"
    bound = "totalvi_log_weights"
    why_not_minified = "the minified form of totalVI would keep the counts of proteins"
    needs = frozenset({"proteins"})
    can = frozenset({"proteins", "marginal_likelihood"})
    obsm_key = "X_totalVI"

    @model_validator(mode="after")
    def _what_scvi_tools_can_train(self) -> TotalviSpec:
        if not self.correct_batch:
            raise ValueError(
                "totalVI needs the batches to know where a protein was not measured; leave correct_batch at true"
            )
        if self.training.gradient_clip_val is not None:
            raise ValueError(
                "training.gradient_clip_val must be null for TOTALVI, which steps its optimisers itself"
            )
        return self

    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """The study's keys with the proteins.

        Raises
        ------
        InputError
            Without ``obsm["protein_expression"]``, or with too few proteins for the empirical prior.
        """
        if PROTEIN_KEY not in genes.obsm:
            raise InputError(
                f"models.{self.name}: TOTALVI needs counts of proteins in obsm['{PROTEIN_KEY}'], and there are none; "
                "bring CITE-seq data and set protein_key, or leave the model out"
            )
        n_proteins = genes.obsm[PROTEIN_KEY].shape[1]
        if self.empirical_protein_background_prior and n_proteins < FEWEST_PROTEINS_OF_PRIOR:
            raise InputError(
                f"models.{self.name}.empirical_protein_background_prior needs at least {FEWEST_PROTEINS_OF_PRIOR} "
                f"proteins, but there are {n_proteins}; set it to null or false"
            )
        if n_proteins == 1:
            logger.warning("%s: one protein only says little beyond the RNA", self.name)
        return covariate_arguments(keys) | {"protein_expression_obsm_key": PROTEIN_KEY}

    def train_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same arguments where TOTALVI's ``train`` looks for them."""
        plan, splitter = dict(arguments["plan_kwargs"]), dict(arguments["datasplitter_kwargs"])
        own = {name: plan.pop(name) for name in _OWN_ARGUMENTS}
        own["external_indexing"] = splitter.pop("external_indexing")
        return arguments | own | {"plan_kwargs": plan, "datasplitter_kwargs": splitter}
