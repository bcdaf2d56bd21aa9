"""Options of the held-out likelihoods."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options
from scvi_downstream.scoring.marginal_likelihood import SamplingBounds


class EvaluationOptions(Options):
    """Held-out likelihoods; the marginal one is bounded in time."""

    marginal_ll_samples: Annotated[int, Field(ge=2)]
    marginal_ll_max_cells: PositiveInt
    marginal_ll_max_seconds: PositiveFloat

    @property
    def sampling(self) -> SamplingBounds:
        """What the marginal likelihood may cost."""
        return SamplingBounds(
            self.marginal_ll_samples, self.marginal_ll_max_cells, self.marginal_ll_max_seconds
        )
