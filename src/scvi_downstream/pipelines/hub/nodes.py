"""A fitted model with what scvi-hub keeps of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.hub import HubExport
from scvi_downstream.models import SavedModel
from scvi_downstream.models.saved import MODEL_CLASSES
from scvi_downstream.parameters import Accelerator, Keys
from scvi_downstream.parameters.hub import HubOptions

from .card import CardFacts, write_card
from .minified import kept_columns, minify

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


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
    columns = kept_columns(fitted, counts.obs.columns, keys, options.obs_columns)
    minified, reason = minify(model, fitted, columns) if options.minified else (None, "hub.minified is false")
    if minified is None:
        logger.info("hub: the folder holds no cells: %s", reason)
    name = str(training_summary.get("model", fitted.family))
    metadata = {
        "scvi_version": str(
            fitted.contents.attributes["registry_"].get("scvi_version", version("scvi-tools"))
        ),
        "anndata_version": version("anndata"),
        "model_cls_name": fitted.family,
        "training_data_url": options.training_data_url,
        "model_parent_module": MODEL_CLASSES[fitted.family],
    }
    facts = CardFacts(
        study=study,
        name=name,
        family=fitted.family,
        settings=fitted.settings,
        setup=fitted.setup,
        scores=_scores(name, leaderboard, scores),
        champion=champion or {},
        training=training_summary,
        data=preparation_summary,
        seed=seed,
        split=_split(fitted),
        versions=metadata,
        n_genes=len(fitted.genes),
        annotated=keys.label_key is not None,
        columns=None if minified is None else columns,
        no_cells=reason,
    )
    return HubExport(model=model, minified=minified, metadata=metadata, card=write_card(facts, options))


def _scores(
    name: str, leaderboard: pd.DataFrame | None, scores: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if leaderboard is None:
        return scores or {}
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    if name not in board.index:
        return scores or {}
    row = board.loc[name].dropna().to_dict()
    return {score: value.item() if isinstance(value, np.generic) else value for score, value in row.items()}


def _split(fitted: SavedModel) -> dict[str, int]:
    attributes = fitted.contents.attributes
    indices = {part: attributes.get(f"{part}_indices_") for part in ("train", "validation", "test")}
    return {part: 0 if found is None else len(found) for part, found in indices.items()}
