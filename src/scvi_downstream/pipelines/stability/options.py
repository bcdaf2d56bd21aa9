"""Options of the comparison of seeds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options


class StabilityOptions(Options):
    """Which models are fitted again with other seeds, how often, and what is compared between the fits."""

    models: tuple[str, ...]
    n_seeds: Annotated[int, Field(ge=2)]
    resolution: PositiveFloat
    leiden_runs: Annotated[int, Field(ge=2)]
    n_neighbors: PositiveInt
    top_genes: PositiveInt
    min_fraction: Annotated[float, Field(ge=0, le=1)]
