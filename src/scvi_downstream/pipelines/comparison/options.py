"""Options of the integration metrics and of the rule for the champion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scvi_downstream.cells.keys import Keys
from scvi_downstream.runtime.options import Options
from scvi_downstream.scoring.criteria import Profile, choose_profile
from scvi_downstream.statistics.differences import Noise

Baseline = Literal["pca", "harmony", "scanorama"]
BASELINES: dict[str, str] = {"pca": "PCA", "harmony": "Harmony", "scanorama": "Scanorama"}
"""Embedding without a model → its name in words."""


class ChampionRule(Options):
    """The most economical model that cannot be told from the best by the first criterion of the leaderboard.

    ``tie_breaker: x`` is accepted for ``tie_breakers: [x]``.
    """

    criteria: Annotated[tuple[str, ...], Field(min_length=1)]
    noise: Noise
    within: Annotated[float, Field(ge=0)]
    tie_breakers: tuple[str, ...]
    trained_on_labels: bool

    @model_validator(mode="before")
    @classmethod
    def _one_tie_breaker(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "tie_breaker" not in given:
            return given
        only, others = given["tie_breaker"], {name: given[name] for name in given if name != "tie_breaker"}
        named = only if isinstance(only, list) else [only]
        return others if only is None else others | {"tie_breakers": named}

    def first_measurable(self, keys: Keys) -> str | None:
        """The first criterion for which the study has the labels and batches."""
        missing = {"scib_total"} if not keys.batch_key else set()
        missing |= {"scib_total", "scib_bio_conservation"} if not keys.label_key else set()
        return next((name for name in self.criteria if name not in missing), None)


class ComparisonOptions(Options):
    """Integration metrics, baselines and the rule for the champion."""

    baselines: tuple[Baseline, ...]
    profile: Literal["full", "fast", "stock"]
    max_cells: PositiveInt | None
    leiden_optimisation: bool | None
    n_bootstrap: NonNegativeInt
    champion: ChampionRule

    @property
    def no_models(self) -> frozenset[str]:
        """Rows of the leaderboard that are no models; PCA always, as every study compares with it."""
        return frozenset({"pca", *self.baselines})

    def asks_benchmarker(self, keys: Keys) -> bool:
        """Whether scib-metrics' own Benchmarker is run as well, which needs labels and batches."""
        return self.profile == "stock" and bool(keys.label_key and keys.batch_key)

    @property
    def metrics_profile(self) -> Profile:
        """What integration metrics look at."""
        return choose_profile(
            self.profile, max_cells=self.max_cells, leiden_optimisation=self.leiden_optimisation
        )
