"""scANVI: Xu et al. (2021), doi:10.15252/msb.20209620."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from scvi_downstream.models.specification import (
    UNLABELED_CATEGORY,
    AutoencoderSpec,
    Capability,
    Need,
    setup_arguments,
)
from scvi_downstream.parameters import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI, SCVI


class ScanviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.SCANVI`."""

    family: Literal["SCANVI"] = "SCANVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "zinb"
    use_observed_lib_size: bool = True
    linear_classifier: bool = False
    encode_covariates: bool = False
    deeply_inject_covariates: bool = True
    use_batch_norm: Literal["encoder", "decoder", "none", "both"] = "both"
    use_layer_norm: Literal["encoder", "decoder", "none", "both"] = "none"

    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    can: ClassVar[frozenset[Capability]] = frozenset(
        {"normalized_expression", "differential_expression", "marginal_likelihood", "prediction"}
    )
    obsm_key: ClassVar[str] = "X_scANVI"
    initialisable_from: ClassVar[frozenset[str]] = frozenset({"SCVI"})

    def build(self, genes: AnnData, keys: Keys) -> SCANVI:
        """Register ``genes`` and make the untrained model."""
        from scvi.model import SCANVI

        SCANVI.setup_anndata(
            genes, unlabeled_category=UNLABELED_CATEGORY, **setup_arguments(keys, labels=True)
        )
        return SCANVI(genes, **self.hyperparameters)

    def build_from(self, genes: AnnData, keys: Keys, initial: SCVI) -> SCANVI:
        """Make the untrained model with the encoder and decoder of a fitted scVI model."""
        from scvi.model import SCANVI

        return SCANVI.from_scvi_model(
            initial,
            unlabeled_category=UNLABELED_CATEGORY,
            labels_key=keys.label_key,
            adata=genes,
            linear_classifier=self.linear_classifier,
        )
