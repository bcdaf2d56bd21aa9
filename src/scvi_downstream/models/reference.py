"""A fitted model with the counts that it was fitted on, onto which other cells are mapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scvi_downstream.models.saved import SavedModel

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Reference:
    """A saved model and its cells.

    Attributes
    ----------
    model
        Of this project, or of scvi-tools alone.
    counts
        Raw counts that it was fitted on, with the obs columns that it was set up with.
    name
        For people: ``<study>/<model>`` of this project, else the folder's name.
    """

    model: SavedModel
    counts: AnnData
    name: str
