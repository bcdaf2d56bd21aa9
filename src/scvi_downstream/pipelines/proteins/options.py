"""Options of what totalVI tells about surface proteins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class ProteinsOptions(Options):
    """Denoised proteins, imputation where they were not measured, markers of groups."""

    n_samples: Annotated[int, Field(ge=2)]
    max_held_out_batches: NonNegativeInt
    n_neighbors: PositiveInt
    n_bootstrap: Annotated[int, Field(ge=100)]
    min_cells_per_group: Annotated[int, Field(ge=3)]
    de_samples: Annotated[int, Field(ge=100)]
    delta: PositiveFloat
    fdr: Share
    proteins: tuple[str, ...]
    top_proteins: PositiveInt
