"""scVI, LDVAE, scANVI and DRVI: autoencoders of counts whose options are nearly the same."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import Dropout, ModelSpec, covariate_arguments
from scvi_downstream.runtime.options import UNKNOWN

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI, SCVI

logger = logging.getLogger(__name__)

Normalised = Literal["encoder", "decoder", "none", "both"]


class AutoencoderSpec(ModelSpec):
    """Hyperparameters and abilities that all of them share."""

    n_hidden: PositiveInt = 128
    n_latent: PositiveInt = 10
    n_layers: PositiveInt = 1
    dropout_rate: Dropout = 0.1
    dispersion: Literal["gene", "gene-batch", "gene-label", "gene-cell"] = "gene"

    can = frozenset({"normalized_expression", "differential_expression", "marginal_likelihood"})
    own_loop = True

    @property
    def hidden_layers(self) -> tuple[int, int] | None:
        """Number of hidden layers and units of each."""
        return self.n_layers, self.n_hidden

    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """The study's keys; labels only where the dispersion depends on them."""
        labels = {"labels_key": keys.label_key} if self.dispersion == "gene-label" else {}
        return covariate_arguments(keys) | labels


class ScviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.SCVI`."""

    family: Literal["SCVI"] = "SCVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "zinb"
    latent_distribution: Literal["normal", "ln"] = "normal"
    use_observed_lib_size: bool = True
    encode_covariates: bool = False
    deeply_inject_covariates: bool = True
    use_batch_norm: Normalised = "both"
    use_layer_norm: Normalised = "none"

    title = "scVI"
    description = "scVI [@lopez2018]"
    paper = "Lopez et al. (2018), doi:10.1038/s41592-018-0229-2"
    takes_queries = True
    obsm_key = "X_scVI"


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

    title = "DRVI"
    description = "DRVI, whose latent dimensions are decoded one by one [@moinfar2024]"
    paper = "Moinfar & Theis (2024), doi:10.1101/2024.11.06.622266"
    module = "scvi.external"
    takes_queries = True
    can = AutoencoderSpec.can | {"loadings"}
    obsm_key = "X_DRVI"


class LinearScviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.LinearSCVI`."""

    family: Literal["LinearSCVI"] = "LinearSCVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "nb"
    latent_distribution: Literal["normal", "ln"] = "normal"
    use_observed_lib_size: bool = False

    title = "LDVAE"
    description = "LDVAE, scVI with a linear decoder [@svensson2020]"
    paper = "Svensson et al. (2020), doi:10.1093/bioinformatics/btaa169"
    why_not_minified = (
        "scvi-tools 1.5 encodes the zeros of minified cells of LDVAE instead of reading their latent"
    )
    can = AutoencoderSpec.can | {"loadings"}
    obsm_key = "X_LDVAE"

    @property
    def hidden_layers(self) -> None:
        """None that count: they are the encoder's alone, as the decoder is linear."""

    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """The batch, which is all that scvi-tools' class takes."""
        arguments = super().setup_arguments(genes, keys)
        covariates = [arguments.pop(f"{kind}_covariate_keys") for kind in ("categorical", "continuous")]
        if any(covariates):
            left_out = "%s: LinearSCVI models the batch only; it leaves out the covariates %s"
            logger.warning(left_out, self.name, covariates)
        return arguments


class ScanviSpec(AutoencoderSpec):
    """Hyperparameters of :class:`scvi.model.SCANVI`."""

    family: Literal["SCANVI"] = "SCANVI"
    gene_likelihood: Literal["zinb", "nb", "poisson"] = "zinb"
    use_observed_lib_size: bool = True
    linear_classifier: bool = False
    encode_covariates: bool = False
    deeply_inject_covariates: bool = True
    use_batch_norm: Normalised = "both"
    use_layer_norm: Normalised = "none"

    title = "scANVI"
    description = "scANVI [@xu2021]"
    paper = "Xu et al. (2021), doi:10.15252/msb.20209620"
    takes_queries = True
    needs = frozenset({"labels"})
    can = AutoencoderSpec.can | {"prediction"}
    obsm_key = "X_scANVI"
    initialisable_from = frozenset({"SCVI"})

    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """The study's keys with the labels and the name of those that are none."""
        return covariate_arguments(keys) | {"labels_key": keys.label_key, "unlabeled_category": UNKNOWN}

    def build_from(self, genes: AnnData, keys: Keys, initial: SCVI) -> SCANVI:
        """Make the untrained model with the encoder and decoder of a fitted scVI model."""
        from scvi.model import SCANVI

        return SCANVI.from_scvi_model(
            initial,
            unlabeled_category=UNKNOWN,
            labels_key=keys.label_key,
            adata=genes,
            linear_classifier=self.linear_classifier,
        )
