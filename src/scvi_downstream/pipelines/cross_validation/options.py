"""Options of cross-validation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options


class CrossValidationOptions(Options):
    """Which models are fitted anew without a part of the cells, and which parts."""

    models: tuple[str, ...] = ()
    n_folds: Annotated[int, Field(ge=2)] = 5
    batches: bool = True
    max_batches: Annotated[int, Field(ge=2)] = 20
    max_epochs: PositiveInt | None = None
