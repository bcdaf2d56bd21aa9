"""The posterior of every cell's latent in place of its counts: what scvi-tools calls minified."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.errors import InputError, closest
from scvi_downstream.hub import MINIFIED_MARK
from scvi_downstream.models import FAMILIES, SavedModel
from scvi_downstream.models.quiet import quiet
from scvi_downstream.parameters import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

# Families whose minified form scvi-tools cannot make, or would hold counts → why.
_NOT_MINIFIED = {
    "LinearSCVI": "scvi-tools 1.5 encodes the zeros of minified cells of LDVAE instead of reading their latent",
    "MRVI": "scvi-tools has no minified form of MrVI",
    "TOTALVI": "the minified form of totalVI would keep the counts of proteins",
}
_MEAN, _VARIANCE = "X_latent_qzm", "X_latent_qzv"


def minify(
    model: BaseModelClass, fitted: SavedModel, columns: Iterable[str]
) -> tuple[AnnData | None, str | None]:
    """Put minified cells in the place of a model's counts.

    Parameters
    ----------
    model
        Attached to its counts; afterwards it is set up with the minified cells, so that it is saved as a model
        that takes them.
    fitted
        The same model as it was saved.
    columns
        obs columns to keep, with those that the model was set up with among them.

    Returns
    -------
    Cells with an empty ``X``, the chosen columns, the observed library size and the posterior's mean and variance; the
    latent itself under the family's own obsm key; nothing else. Or ``None`` and the reason.
    """
    from anndata import AnnData

    if fitted.family in _NOT_MINIFIED:
        return None, _NOT_MINIFIED[fitted.family]
    if not fitted.settings.get("use_observed_lib_size", True):
        return None, "scvi-tools cannot minify a model with use_observed_lib_size: false"
    with quiet():
        latent = model.get_latent_representation()
        model.adata.obsm[_MEAN], model.adata.obsm[_VARIANCE] = model.get_latent_representation(
            return_dist=True
        )
        model.minify_adata(use_latent_qzm_key=_MEAN, use_latent_qzv_key=_VARIANCE)
    whole = model.adata
    kept = AnnData(
        sparse.csr_matrix(whole.shape, dtype=np.float32),
        obs=whole.obs[[*columns, model._OBSERVED_LIB_SIZE_KEY]].copy(),
        var=whole.var.copy(),
        uns={MINIFIED_MARK: str(whole.uns[MINIFIED_MARK])},
    )
    for key in (model._LATENT_QZM_KEY, model._LATENT_QZV_KEY):
        kept.obsm[key] = np.asarray(whole.obsm[key], dtype=np.float32)
    kept.obsm[FAMILIES[fitted.family].obsm_key] = np.asarray(latent, dtype=np.float32)
    if fitted.setup.get("layer"):
        kept.layers[fitted.setup["layer"]] = kept.X.copy()
    return kept, None


def kept_columns(
    fitted: SavedModel, available: pd.Index, keys: Keys, chosen: tuple[str, ...] | None
) -> list[str]:
    """Columns of obs of the minified cells: those that the model was set up with, and the chosen ones.

    Parameters
    ----------
    fitted
        The model.
    available
        Columns of the counts.
    keys
        Of the study, which are kept where nothing is chosen.
    chosen
        ``hub.obs_columns``.

    Raises
    ------
    InputError
        A chosen column does not exist.
    """
    for name in chosen or ():
        if name not in available:
            raise InputError(f"hub.obs_columns: '{name}' is not in obs{closest(name, available)}")
    setup = fitted.setup
    used = [setup.get(key) for key in ("batch_key", "labels_key", "sample_key", "size_factor_key")]
    used += [
        *(setup.get("categorical_covariate_keys") or ()),
        *(setup.get("continuous_covariate_keys") or ()),
    ]
    study = [*keys.categorical.values(), *keys.continuous_covariates] if chosen is None else chosen
    return list(dict.fromkeys(str(name) for name in (*used, *study) if name and name in available))
