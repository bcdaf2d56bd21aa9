"""Options of posterior predictive checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class PredictiveCheckOptions(Options):
    """How many counts are drawn from the model, for which cells and genes."""

    n_samples: Annotated[int, Field(ge=20)]
    max_cells: PositiveInt
    correlation_genes: Annotated[int, Field(ge=3)]
    fdr: Share
