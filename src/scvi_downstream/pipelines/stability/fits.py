"""Fits of one model that differ in nothing but the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scvi_downstream.errors import InputError


@dataclass(frozen=True, eq=False)
class SeedFit:
    """What is compared of one fit.

    Attributes
    ----------
    name
        Of the model or trial.
    scores
        Flat record.
    score_draws
        Bootstrap draws × scib metrics; empty where there are none.
    latent
        ``n_cells`` × dimensions.
    clusters
        ``n_cells`` × repetitions of Leiden.
    markers
        Top genes of each group, of two sets of posterior draws; empty where the model has no test.
    """

    name: str
    scores: Mapping[str, Any]
    score_draws: pd.DataFrame
    latent: pd.DataFrame
    clusters: pd.DataFrame
    markers: pd.DataFrame = field(default_factory=pd.DataFrame)


def gather_fits(tables: Mapping[str, Any]) -> tuple[list[SeedFit], dict[str, str]]:
    """Fits, the study's own first, and the reason of each that failed.

    Parameters
    ----------
    tables
        ``<name>__scores``, ``<name>__score_draws``, ``<name>__latent``, ``<name>__seed_clusters`` and perhaps
        ``<name>__seed_markers`` of each fit.

    Raises
    ------
    InputError
        When two fits are not of the same cells.
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, content in tables.items():
        name, _, kind = key.rpartition("__")
        parts.setdefault(name, {})[kind] = content
    failed = {
        name: str(part["scores"]["failed"]) for name, part in parts.items() if part["scores"].get("failed")
    }
    fits = [_fit(name, part) for name, part in parts.items() if name not in failed]
    for fit in fits[1:]:
        if set(fit.latent.index) != set(fits[0].latent.index):
            raise InputError(
                f"'{fit.name}' was fitted to other cells than '{fits[0].name}'; run the study again so that all seeds "
                "see the same counts"
            )
    return fits, failed


def _fit(name: str, part: Mapping[str, Any]) -> SeedFit:
    clusters = part["seed_clusters"]
    draws = part.get("score_draws")
    markers = part.get("seed_markers")
    return SeedFit(
        name=name,
        scores=part["scores"],
        score_draws=pd.DataFrame() if draws is None else draws,
        latent=part["latent"],
        clusters=clusters.loc[part["latent"].index],
        markers=pd.DataFrame() if markers is None else markers,
    )
