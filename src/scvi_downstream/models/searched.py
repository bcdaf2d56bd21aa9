"""What a search is asked for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scvi_downstream.errors import InputError, closest
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.search_space import read_space
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import Keys, SearchOptions

_NEEDS_LABELS = ("scib_total", "scib_bio_conservation")
_NEEDS_BATCHES = ("scib_total", "scib_batch_correction")


def check_search(
    search: SearchOptions, models: Mapping[str, Mapping[str, Any]], primary: str, keys: Keys
) -> None:
    """Refuse a search that cannot be, as far as the parameters tell; one that no one asked for is none.

    Parameters
    ----------
    search
        What the user set.
    models
        Complete options of all models, by name.
    primary
        The model that is varied when ``search.model`` is empty.
    keys
        obs columns of the study.

    Raises
    ------
    InputError
        A model, a space or an objective that cannot be.
    """
    if search == SearchOptions():
        return
    base = searched_model(search, models, primary)
    check_objectives(search, parse_spec(base), keys)
    read_space(search.space, base)


def searched_model(
    search: SearchOptions, models: Mapping[str, Mapping[str, Any]], primary: str
) -> Mapping[str, Any]:
    """Complete options of the model that is varied.

    Raises
    ------
    InputError
        When there is no such model, or when it starts from another one and has that one's sizes.
    """
    name = search.model or primary
    if name not in models:
        raise InputError(f"search.model '{name}' is not among models{closest(name, models)}")
    base = models[name]
    if base.get("init_from"):
        raise InputError(
            f"search.model '{name}' starts from '{base['init_from']}' and has its sizes; search that one, or a model "
            "without init_from"
        )
    return base


def check_objectives(search: SearchOptions, spec: ModelSpec, keys: Keys) -> None:
    """Refuse objectives that the data or the model do not have.

    Raises
    ------
    InputError
        Naming the objective and what it needs.
    """
    given = {"label_key": keys.label_key, "batch_key": keys.batch_key}
    for name in search.objectives:
        for needed, of in (("label_key", _NEEDS_LABELS), ("batch_key", _NEEDS_BATCHES)):
            if name in of and not given[needed]:
                raise InputError(f"search.objectives: {name} needs {needed}, which is empty")
        if name in _NEEDS_LABELS and "labels" in spec.needs:
            raise InputError(
                f"search.objectives: {name} judges by the labels that {spec.family} is trained on; leave it out, or "
                "search a model that does not see them"
            )
    if len(set(search.objectives)) < len(search.objectives):
        raise InputError(f"search.objectives names one twice: {list(search.objectives)}")
