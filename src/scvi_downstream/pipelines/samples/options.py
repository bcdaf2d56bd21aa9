"""Options of the comparison of samples by MrVI."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class SamplesOptions(Options):
    """How samples are compared: distances, what conditions change, and what a cell were in another sample."""

    grouping: str | None = None
    block_key: str | None = None
    min_cells_per_group: PositiveInt = 20
    min_cells_per_sample: PositiveInt = 5
    max_cells_per_group: PositiveInt = 1000
    max_cells_per_sample: PositiveInt = 1000
    noise_draws: Annotated[int, Field(ge=2)] = 10
    min_normalized_distance: PositiveFloat = 1.0
    n_permutations: Annotated[int, Field(ge=39)] = 1000
    min_lfc: Annotated[float, Field(ge=0)] = 0.5
    fdr: Share = 0.05
    genes: tuple[str, ...] = ()
    top_genes: PositiveInt = 10
