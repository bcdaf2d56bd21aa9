"""Options of the comparison of seeds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.parameters.base import Options


class StabilityOptions(Options):
    """Which models are fitted again with other seeds, and how often."""

    models: tuple[str, ...] = ()
    n_seeds: Annotated[int, Field(ge=2)] = 5
    top_genes: PositiveInt = 50
