"""Models that differ in the number of latent dimensions, and in the seed, alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_NOT_COMPARED = ("name", "n_latent", "trial_of", "seed")


@dataclass(frozen=True)
class Grid:
    """One model at several numbers of latent dimensions.

    Attributes
    ----------
    title
        The model's name, with what sets it apart where several grids are of one model.
    family
        Of all of them.
    models
        By number of dimensions, in ascending order: names, several where they were trained with several seeds.
    """

    title: str
    family: str
    models: dict[int, tuple[str, ...]]


def find_grids(names: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> list[Grid]:
    """Grids with at least two numbers of latent dimensions, in the order of the models.

    Parameters
    ----------
    names
        Models that can be compared.
    models
        Complete options by model; ``trial_of`` names the model that a trial varies.
    """
    present = set(names)
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, options in models.items():
        if name in present and options.get("n_latent") is not None:
            groups.setdefault(_others(options), {})[name] = options
    grids = [
        group for group in groups.values() if len({options["n_latent"] for options in group.values()}) > 1
    ]
    titles = [_base(group) for group in grids]
    return [
        Grid(
            title=title if titles.count(title) == 1 else f"{title} ({_apart(group, grids)})",
            family=str(next(iter(group.values())).get("family")),
            models=_by_dimensions(group),
        )
        for title, group in zip(titles, grids, strict=True)
    ]


def _others(options: Mapping[str, Any]) -> str:
    compared = {name: value for name, value in options.items() if name not in _NOT_COMPARED}
    return json.dumps(compared, sort_keys=True, default=str)


def _base(group: Mapping[str, Mapping[str, Any]]) -> str:
    originals = [name for name, options in group.items() if not options.get("trial_of")]
    return originals[0] if originals else str(next(iter(group.values()))["trial_of"])


def _by_dimensions(group: Mapping[str, Mapping[str, Any]]) -> dict[int, tuple[str, ...]]:
    values = sorted({int(options["n_latent"]) for options in group.values()})
    return {
        value: tuple(name for name, options in group.items() if int(options["n_latent"]) == value)
        for value in values
    }


def _apart(group: Mapping[str, Mapping[str, Any]], grids: list[dict[str, Mapping[str, Any]]]) -> str:
    """Options in which a grid differs from the others of the same model."""
    base = _base(group)
    firsts = [next(iter(other.values())) for other in grids if _base(other) == base]
    own = next(iter(group.values()))
    differing = [
        name
        for name in own
        if name not in _NOT_COMPARED and len({repr(options.get(name)) for options in firsts}) > 1
    ]
    return ", ".join(f"{name} {own[name]}" for name in differing)
