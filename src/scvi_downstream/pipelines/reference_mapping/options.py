"""Options of the mapping onto a reference."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class ReferenceMappingOptions(Options):
    """Mapping of the study's cells onto a reference model by scArches surgery."""

    label_key: str | None
    min_shared_genes: Annotated[float, Field(ge=0, le=1)]
    max_epochs: PositiveInt | None
    n_neighbors: PositiveInt
    min_probability: Annotated[float, Field(ge=0, le=1)]
    unlike_fdr: Share
