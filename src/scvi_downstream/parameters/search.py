"""Options of the adaptive search for hyperparameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from scvi_downstream.parameters.base import Options


class SearchOptions(Options):
    """What is varied, by which algorithm, judged by what."""

    model: str | None = None
    space: dict[str, Any] = Field(default_factory=dict)
    algorithm: Literal["random", "asha", "bayesian"] = "asha"
    trials: PositiveInt = 20
    ray_address: str | None = None
    concurrent: PositiveInt | None = None
