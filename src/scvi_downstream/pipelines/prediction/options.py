"""Options of the prediction of expression under other conditions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.runtime.options import Options, Share


class PredictionOptions(Options):
    """Which condition is predicted from which, what is held out, and how predictions are scored."""

    source: str | None
    target: tuple[str, ...] | None
    max_targets: PositiveInt
    held_out_share: Share
    max_groups: PositiveInt
    min_cells: Annotated[int, Field(ge=4)]
    max_cells: PositiveInt
    n_samples: PositiveInt
    n_bootstrap: Annotated[int, Field(ge=20)]
    top_genes: Annotated[int, Field(ge=3)]
    fdr: Share
    genes: tuple[str, ...]
    n_figure_genes: PositiveInt
    scvi: dict[str, Any]
    mrvi: dict[str, Any]

    def spec(self, family: str, training: TrainingOptions) -> ModelSpec:
        """Options of the model of the kept cells: the family's defaults, the study's training, and the user's changes.

        Raises
        ------
        InputError
            An option that the family does not have.
        """
        given, name = getattr(self, family.lower()), f"prediction_{family.lower()}"
        own = {**training.model_dump(), **(given.get("training") or {})}
        return parse_spec({**given, "name": name, "family": family, "training": own})
