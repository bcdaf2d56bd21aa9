"""Options of the neighbours graph, the UMAPs and what they are coloured by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options


class EmbeddingOptions(Options):
    """Neighbours graph, UMAP and what to colour it by."""

    n_neighbors: Annotated[int, Field(ge=2)]
    n_neighbors_metrics: Annotated[int, Field(ge=2)]
    exact_up_to: PositiveInt
    n_pcs: PositiveInt
    umap_min_dist: Annotated[float, Field(ge=0)]
    umap_spread: PositiveFloat
    umap_epochs: PositiveInt | None
    color_by: tuple[str, ...]
