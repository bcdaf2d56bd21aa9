"""Options of the neighbours graph, the UMAPs and what they are coloured by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options


class EmbeddingOptions(Options):
    """Neighbours graph, UMAP and what to colour it by."""

    n_neighbors: Annotated[int, Field(ge=2)] = 15
    n_neighbors_metrics: Annotated[int, Field(ge=2)] = 90
    exact_up_to: PositiveInt = 50_000
    n_pcs: PositiveInt = 50
    umap_min_dist: Annotated[float, Field(ge=0)] = 0.5
    umap_spread: PositiveFloat = 1.0
    umap_epochs: PositiveInt | None = None
    color_by: tuple[str, ...] = ()
