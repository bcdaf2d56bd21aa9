"""Options of what is run for every model, from counts to the leaderboard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scvi_downstream.runtime.options import Options


class ChampionRule(Options):
    """The most economical model that cannot be told from the best by the first criterion of the leaderboard.

    ``tie_breaker: x`` is accepted for ``tie_breakers: [x]``.
    """

    criteria: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "scib_total",
        "scib_bio_conservation",
        "elbo_test",
    )
    noise: Literal["one_standard_error", "interval", "none"] = "one_standard_error"
    within: Annotated[float, Field(ge=0)] = 0.0
    tie_breakers: tuple[str, ...] = ("n_latent", "n_parameters", "seconds")
    trained_on_labels: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_tie_breaker(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "tie_breaker" not in given:
            return given
        others = {name: value for name, value in given.items() if name != "tie_breaker"}
        only = given["tie_breaker"]
        return (
            others if only is None else others | {"tie_breakers": only if isinstance(only, list) else [only]}
        )


class ComparisonOptions(Options):
    """Integration metrics, baselines and the rule for the champion."""

    baselines: tuple[Literal["pca", "harmony", "scanorama"], ...] = ("pca", "harmony")
    profile: Literal["full", "fast"] = "full"
    max_cells: PositiveInt | None = None
    leiden_optimisation: bool | None = None
    n_bootstrap: NonNegativeInt = 200
    champion: ChampionRule = ChampionRule()
