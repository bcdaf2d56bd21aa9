"""Options of the comparison of samples by MrVI."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class SamplesOptions(Options):
    """How samples are compared: distances, what conditions change, and what a cell were in another sample."""

    grouping: str | None
    min_cells_per_group: PositiveInt
    max_cells_per_group: PositiveInt
    max_cells_per_sample: PositiveInt
    noise_draws: Annotated[int, Field(ge=2)]
    min_normalized_distance: PositiveFloat
    n_permutations: Annotated[int, Field(ge=39)]
    min_lfc: Annotated[float, Field(ge=0)]
    fdr: Share
    genes: tuple[str, ...]
    top_genes: PositiveInt
