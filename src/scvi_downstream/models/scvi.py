"""scVI: Lopez et al. (2018), doi:10.1038/s41592-018-0229-2."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from scvi_downstream.models.specification import AutoencoderSpec, Capability, setup_arguments
from scvi_downstream.parameters import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCVI


class ScviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.SCVI`."""

    family: Literal["SCVI"] = "SCVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "zinb"
    latent_distribution: Literal["normal", "ln"] = "normal"
    use_observed_lib_size: bool = True
    encode_covariates: bool = False
    deeply_inject_covariates: bool = True
    use_batch_norm: Literal["encoder", "decoder", "none", "both"] = "both"
    use_layer_norm: Literal["encoder", "decoder", "none", "both"] = "none"

    can: ClassVar[frozenset[Capability]] = frozenset(
        {"normalized_expression", "differential_expression", "marginal_likelihood"}
    )
    obsm_key: ClassVar[str] = "X_scVI"

    def build(self, genes: AnnData, keys: Keys) -> SCVI:
        """Register ``genes`` and make the untrained model."""
        from scvi.model import SCVI

        SCVI.setup_anndata(genes, **setup_arguments(keys, labels=self.dispersion == "gene-label"))
        return SCVI(genes, **self.hyperparameters)
