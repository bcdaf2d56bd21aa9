"""Options of the measurement of batch structure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options


class BatchEffectOptions(Options):
    """How batch structure is measured before and after the model."""

    max_cells: PositiveInt
    n_neighbors: PositiveInt
    n_folds: Annotated[int, Field(ge=2)]
    n_permutations: Annotated[int, Field(ge=39)]
    corrected: bool
    n_samples: PositiveInt
    top_genes: PositiveInt
    fdr: Annotated[float, Field(ge=0.001, lt=1)]
