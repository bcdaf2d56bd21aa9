"""Options of the transfer of labels and of the names of clusters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class MarkerNamingOptions(Options):
    """How clusters are named by the user's table of marker genes."""

    min_genes: PositiveInt
    n_random_sets: Annotated[int, Field(ge=20)]
    fdr: Share
    min_margin: Annotated[float, Field(ge=0)]


class AnnotationOptions(Options):
    """Transfer of labels to cells without one, its score on held-out labels, names from marker genes."""

    held_out_share: Share
    min_cells_per_type: Annotated[int, Field(ge=2)]
    clustering: str
    n_neighbors: PositiveInt
    min_probability: Annotated[float, Field(ge=0, le=1)]
    calibrate: bool
    calibration_bins: Annotated[int, Field(ge=2)]
    unlike_fdr: Share
    training: dict[str, Any]
    markers: MarkerNamingOptions
