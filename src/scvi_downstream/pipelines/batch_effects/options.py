"""Options of the measurement of batch structure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options


class BatchEffectOptions(Options):
    """How batch structure is measured before and after the model."""

    max_cells: PositiveInt = 5000
    n_neighbors: PositiveInt = 50
    n_folds: Annotated[int, Field(ge=2)] = 5
    n_permutations: Annotated[int, Field(ge=39)] = 100
    corrected: bool = True
    n_samples: PositiveInt = 1
    top_genes: PositiveInt = 20
    fdr: Annotated[float, Field(ge=0.001, lt=1)] = 0.05
