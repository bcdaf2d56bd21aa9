"""DRVI, whose latent dimensions are decoded one by one: Moinfar & Theis (2024), doi:10.1101/2024.11.06.622266."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from scvi_downstream.models.specification import AutoencoderSpec, Capability, setup_arguments
from scvi_downstream.parameters import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.external import DRVI


class DrviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.external.DRVI`, with one split a latent dimension."""

    family: Literal["DRVI"] = "DRVI"
    n_latent: PositiveInt = 32
    gene_likelihood: Literal["pnb", "nb", "zinb", "poisson"] = "pnb"
    split_aggregation: Literal["logsumexp", "mean"] = "logsumexp"
    decoder_reuse_weights: Literal["everywhere", "last", "hidden", "nowhere", "hidden_except_first"] = (
        "everywhere"
    )
    use_observed_lib_size: bool = True
    encode_covariates: bool = False
    deeply_inject_covariates: bool = False

    can: ClassVar[frozenset[Capability]] = frozenset(
        {"normalized_expression", "differential_expression", "marginal_likelihood", "loadings"}
    )
    obsm_key: ClassVar[str] = "X_DRVI"

    def build(self, genes: AnnData, keys: Keys) -> DRVI:
        """Register ``genes`` and make the untrained model."""
        from scvi.external import DRVI

        DRVI.setup_anndata(genes, **setup_arguments(keys, labels=self.dispersion == "gene-label"))
        return DRVI(genes, **self.hyperparameters)
