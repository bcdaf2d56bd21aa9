"""A fitted model with what scvi-hub keeps of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import MINIFIED_MARK, HubExport, SavedModel
from scvi_downstream.models.scvi_internals import minified_keys
from scvi_downstream.pipelines.hub.card import CardFacts, write_card
from scvi_downstream.pipelines.hub.options import HubOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.criteria import rows_by_model

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)


_MEAN, _VARIANCE = "X_latent_qzm", "X_latent_qzv"
_NOT_ASKED = "hub.minified is false"


def build_hub_export(
    fitted: SavedModel,
    counts: AnnData,
    training_summary: Mapping[str, Any],
    preparation_summary: Mapping[str, Any],
    keys: Keys,
    options: HubOptions,
    study: str,
    seed: int,
    accelerator: Accelerator,
    leaderboard: pd.DataFrame | None = None,
    champion: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> HubExport:
    """The model, the posterior of its latent without counts, metadata and a model card.

    Parameters
    ----------
    fitted
        Model to export.
    counts
        The study's checked counts, all genes.
    training_summary, preparation_summary
        Name, epochs and costs of the model; size and fingerprint of the data.
    keys
        The study's obs columns, which the minified cells keep unless ``options`` name others.
    options
        What leaves with the model, and what the card says of rights and origin.
    study, seed, accelerator
        Of the study.
    leaderboard, champion
        All models compared; the model's row is its scores.
    scores
        Of its own evaluation, where nothing was compared.

    Raises
    ------
    InputError
        An obs column of ``options`` does not exist.
    """
    model = fitted.attach(counts, accelerator)
    columns = _kept_columns(fitted, counts.obs.columns, keys, options.obs_columns)
    minified, reason = _minify(model, fitted, columns) if options.minified else (None, _NOT_ASKED)
    if minified is None:
        logger.info("hub: the folder holds no cells: %s", reason)
    name = str(training_summary.get("model", fitted.family))
    registry = fitted.contents.attributes["registry_"]
    metadata = {
        "scvi_version": str(registry.get("scvi_version", version("scvi-tools"))),
        "anndata_version": version("anndata"),
        "model_cls_name": fitted.family,
        "training_data_url": options.training_data_url,
        "model_parent_module": FAMILIES[fitted.family].module,
    }
    facts = CardFacts(
        study=study,
        name=name,
        family=fitted.family,
        settings=fitted.settings,
        setup=fitted.setup,
        scores=_find_scores(name, leaderboard, scores),
        champion=champion or {},
        training=training_summary,
        data=preparation_summary,
        seed=seed,
        split=_count_split(fitted),
        versions=metadata,
        n_genes=len(fitted.genes),
        annotated=keys.label_key is not None,
        columns=None if minified is None else columns,
        no_cells=reason,
    )
    return HubExport(model=model, minified=minified, metadata=metadata, card=write_card(facts, options))


def _minify(
    model: BaseModelClass, fitted: SavedModel, columns: Iterable[str]
) -> tuple[AnnData | None, str | None]:
    """Put minified cells in the place of a model's counts, so that it is saved as a model that takes them.

    The cells have an empty ``X``, the observed library size and the posterior's mean and variance, the latent itself
    under the family's own obsm key, and nothing else. Or ``None`` and the reason. ``fitted`` is the model as it was
    saved.
    """
    from anndata import AnnData

    if reason := FAMILIES[fitted.family].why_not_minified:
        return None, reason
    if not fitted.settings.get("use_observed_lib_size", True):
        return None, "scvi-tools cannot minify a model with use_observed_lib_size: false"
    with quiet():
        latent = model.get_latent_representation()
        posterior = model.get_latent_representation(return_dist=True)
        model.adata.obsm[_MEAN], model.adata.obsm[_VARIANCE] = posterior
        model.minify_adata(use_latent_qzm_key=_MEAN, use_latent_qzv_key=_VARIANCE)
    whole, (library_size, *latents) = model.adata, minified_keys(model)
    kept = AnnData(
        sparse.csr_matrix(whole.shape, dtype=np.float32),
        obs=whole.obs[[*columns, library_size]].copy(),
        var=whole.var.copy(),
        uns={MINIFIED_MARK: str(whole.uns[MINIFIED_MARK])},
    )
    for key in latents:
        kept.obsm[key] = np.asarray(whole.obsm[key], dtype=np.float32)
    kept.obsm[FAMILIES[fitted.family].obsm_key] = np.asarray(latent, dtype=np.float32)
    if fitted.setup.get("layer"):
        kept.layers[fitted.setup["layer"]] = kept.X.copy()
    return kept, None


def _kept_columns(
    fitted: SavedModel, available: pd.Index, keys: Keys, chosen: tuple[str, ...] | None
) -> list[str]:
    """Columns of obs of the minified cells: those that the model was set up with, and the ``chosen`` ones.

    Where nothing is chosen (``hub.obs_columns``), the study's keys are kept. A chosen column that does not exist raises
    an InputError.
    """
    for name in chosen or ():
        if name not in available:
            raise InputError(f"hub.obs_columns: '{name}' is not in obs{closest(name, available)}")
    setup = fitted.setup
    used = [setup.get(key) for key in ("batch_key", "labels_key", "sample_key", "size_factor_key")]
    for kind in ("categorical", "continuous"):
        used += setup.get(f"{kind}_covariate_keys") or ()
    study = [*keys.categorical.values(), *keys.continuous_covariates] if chosen is None else chosen
    return list(dict.fromkeys(str(name) for name in (*used, *study) if name and name in available))


def _find_scores(
    name: str, leaderboard: pd.DataFrame | None, scores: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """The model's row of the leaderboard, or its own scores where it has none."""
    board = pd.DataFrame() if leaderboard is None else rows_by_model(leaderboard)
    if name not in board.index:
        return scores or {}
    row = board.loc[name].dropna().to_dict()
    return {score: value.item() if isinstance(value, np.generic) else value for score, value in row.items()}


def _count_split(fitted: SavedModel) -> dict[str, int]:
    """Cells by ``train``, ``validation`` and ``test``."""
    attributes = fitted.contents.attributes
    found = {share: attributes.get(f"{share}_indices_") for share in ("train", "validation", "test")}
    return {share: 0 if cells is None else len(cells) for share, cells in found.items()}
