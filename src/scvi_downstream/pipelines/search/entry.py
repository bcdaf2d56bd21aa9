"""The recommended trial as an entry of ``models:``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scvi_downstream.models.families import FAMILIES, parse_spec
from scvi_downstream.models.search_space import TRAINING, changed
from scvi_downstream.parameters import TrainingOptions

_NAMES = ("name", "family", "training", "trial_of", "init_from")


def model_entry(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``{scvi_best: {family: SCVI, n_latent: 20, training: {lr: 0.002}}}``.

    Parameters
    ----------
    base
        Complete options of the model that was varied.
    changes
        Option → value.

    Returns
    -------
    What differs from the defaults and what was varied, so that the entry gives the same model in any study.
    """
    spec = parse_spec(changed(base, changes)).model_dump(mode="json")
    defaults = FAMILIES[spec["family"]].model_construct().model_dump(mode="json", exclude=set(_NAMES))
    own = {
        name: value
        for name, value in spec.items()
        if name not in _NAMES and (name in changes or value != defaults[name])
    }
    usual = TrainingOptions().model_dump(mode="json")
    training = {
        name: value
        for name, value in spec["training"].items()
        if f"{TRAINING}{name}" in changes or value != usual[name]
    }
    entry = {"family": spec["family"], **own} | ({"training": training} if training else {})
    return {best_name(str(base["name"])): entry}


def best_name(model: str) -> str:
    """Name of the model that a search of ``model`` found."""
    return f"{model}_best"
