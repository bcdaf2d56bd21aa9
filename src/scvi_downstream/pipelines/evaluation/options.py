"""Options of what is run for every model, from counts to the leaderboard."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options


class EvaluationOptions(Options):
    """Held-out likelihoods; the marginal one is bounded in time."""

    marginal_ll_samples: Annotated[int, Field(ge=2)] = 200
    marginal_ll_max_cells: PositiveInt = 1000
    marginal_ll_max_seconds: PositiveFloat = 60.0
