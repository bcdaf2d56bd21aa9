"""Options of the transfer of labels and of the names of clusters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class MarkerNamingOptions(Options):
    """How clusters are named by the user's table of marker genes."""

    min_genes: PositiveInt = 2
    n_random_sets: Annotated[int, Field(ge=20)] = 10_000
    fdr: Share = 0.05
    min_margin: Annotated[float, Field(ge=0)] = 0.5


class AnnotationOptions(Options):
    """Transfer of labels to cells without one, its score on held-out labels, names from marker genes."""

    held_out_share: Share = 0.2
    min_cells_per_type: Annotated[int, Field(ge=2)] = 5
    clustering: str = "leiden"
    n_neighbors: PositiveInt = 15
    min_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    calibrate: bool = True
    calibration_bins: Annotated[int, Field(ge=2)] = 10
    unlike_fdr: Share = 0.05
    training: dict[str, Any] = Field(default_factory=dict)
    markers: MarkerNamingOptions = MarkerNamingOptions()
