"""LDVAE, scVI with a linear decoder: Svensson et al. (2020), doi:10.1093/bioinformatics/btaa169."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, Literal

from scvi_downstream.models.specification import AutoencoderSpec, Capability, setup_arguments
from scvi_downstream.parameters import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import LinearSCVI

logger = logging.getLogger(__name__)


class LinearScviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.LinearSCVI`."""

    family: Literal["LinearSCVI"] = "LinearSCVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "nb"
    latent_distribution: Literal["normal", "ln"] = "normal"
    use_observed_lib_size: bool = False

    can: ClassVar[frozenset[Capability]] = frozenset(
        {"normalized_expression", "differential_expression", "marginal_likelihood", "loadings"}
    )
    obsm_key: ClassVar[str] = "X_LDVAE"

    def build(self, genes: AnnData, keys: Keys) -> LinearSCVI:
        """Register ``genes`` and make the untrained model."""
        from scvi.model import LinearSCVI

        arguments = setup_arguments(keys, labels=self.dispersion == "gene-label")
        covariates = [
            arguments.pop(key) for key in ("categorical_covariate_keys", "continuous_covariate_keys")
        ]
        if any(covariates):
            logger.warning(
                "%s: LinearSCVI models the batch only; it leaves out the covariates %s", self.name, covariates
            )
        LinearSCVI.setup_anndata(genes, **arguments)
        return LinearSCVI(genes, **self.hyperparameters)
