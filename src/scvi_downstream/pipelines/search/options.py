"""Options of the adaptive search for hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.search_space import read_space
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import Options
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS

_NEEDS_BATCHES = ("scib_total", "scib_batch_correction")

Objective = Literal[
    "elbo_validation", "marginal_ll_validation", "scib_total", "scib_bio_conservation", "scib_batch_correction",
]  # fmt: skip


class SearchOptions(Options):
    """What is varied, by which algorithm, judged by what."""

    model: str | None
    space: dict[str, Any]
    algorithm: Literal["random", "asha", "bayesian"]
    halving: bool | None
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    trials: PositiveInt
    grace_epochs: PositiveInt
    reduction_factor: Annotated[float, Field(gt=1)]
    concurrent: PositiveInt | None
    ray_address: str | None

    @field_validator("objectives", mode="before")
    @classmethod
    def _words_of_the_command_line(cls, given: Any) -> Any:
        return given.split(";") if isinstance(given, str) else given

    @property
    def halves(self) -> bool:
        """Whether trials that fall behind are stopped: with ``asha``, and with another algorithm when asked for."""
        return self.algorithm == "asha" if self.halving is None else self.halving

    def check(self, models: Mapping[str, Mapping[str, Any]], primary: str, keys: Keys) -> None:
        """Refuse a search that cannot be, as far as the parameters tell; one that no one asked for is none.

        ``models`` are complete options of all models by name, of which ``primary`` is varied when ``search.model`` is
        empty.

        Raises
        ------
        InputError
            A model, a space or an objective that cannot be.
        """
        if self.model is None and not self.space:
            return
        base = self.find_base(models, primary)
        self.check_objectives(parse_spec(base), keys)
        read_space(self.space, base)

    def find_base(self, models: Mapping[str, Mapping[str, Any]], primary: str) -> Mapping[str, Any]:
        """Complete options of the model that is varied.

        A model that starts from another one has that one's sizes, and is refused.
        """
        name = self.model or primary
        if name not in models:
            raise InputError(f"search.model '{name}' is not among models{closest(name, models)}")
        base = models[name]
        if base.get("init_from"):
            raise InputError(
                f"search.model '{name}' starts from '{base['init_from']}' and has its sizes; search that one, or a "
                "model without init_from"
            )
        return base

    def check_objectives(self, spec: ModelSpec, keys: Keys) -> None:
        """Refuse objectives that the data or the model do not have, naming what they need."""
        for name in self.objectives:
            if name in JUDGED_BY_LABELS and not keys.label_key:
                raise InputError(f"search.objectives: {name} needs label_key, which is empty")
            if name in _NEEDS_BATCHES and not keys.batch_key:
                raise InputError(f"search.objectives: {name} needs batch_key, which is empty")
            if name in JUDGED_BY_LABELS and "labels" in spec.needs:
                raise InputError(
                    f"search.objectives: {name} judges by the labels that {spec.family} is trained on; leave it out, "
                    "or search a model that does not see them"
                )
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError(f"search.objectives names one twice: {list(self.objectives)}")
