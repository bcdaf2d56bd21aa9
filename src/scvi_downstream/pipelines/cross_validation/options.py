"""Options of cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.options import Options


class CrossValidationOptions(Options):
    """Which models are fitted anew without a part of the cells, and which parts."""

    models: tuple[str, ...]
    n_folds: Annotated[int, Field(ge=2)]
    batches: bool
    max_batches: Annotated[int, Field(ge=2)]
    max_epochs: PositiveInt | None

    def over_batches(self, specs: Mapping[str, ModelSpec], keys: Keys) -> list[str]:
        """Those of the models that are also fitted without each batch."""
        able = [name for name in self.models if name in specs and not why_no_unseen_batch(specs[name], keys)]
        return able if self.batches else []
