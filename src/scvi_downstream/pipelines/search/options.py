"""Options of the adaptive search for hyperparameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from scvi_downstream.runtime.options import Options

Objective = Literal[
    "elbo_validation",
    "marginal_ll_validation",
    "scib_total",
    "scib_bio_conservation",
    "scib_batch_correction",
]


class SearchOptions(Options):
    """What is varied, by which algorithm, judged by what."""

    model: str | None = None
    space: dict[str, Any] = Field(default_factory=dict)
    algorithm: Literal["random", "asha", "bayesian"] = "asha"
    halving: bool | None = None
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("elbo_validation",)
    trials: PositiveInt = 20
    grace_epochs: PositiveInt = 20
    reduction_factor: Annotated[float, Field(gt=1)] = 3.0
    concurrent: PositiveInt | None = None
    ray_address: str | None = None

    @field_validator("objectives", mode="before")
    @classmethod
    def _words_of_the_command_line(cls, given: Any) -> Any:
        return given.split(";") if isinstance(given, str) else given

    @property
    def halves(self) -> bool:
        """Whether trials that fall behind are stopped: with ``asha``, and with another algorithm when asked for."""
        return self.algorithm == "asha" if self.halving is None else self.halving
