"""Options of posterior predictive checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.parameters.base import Options


class PredictiveCheckOptions(Options):
    """How many counts are drawn from the model, for which cells and genes."""

    n_samples: Annotated[int, Field(ge=2)] = 50
    max_cells: PositiveInt = 2000
