"""Types of libraries that are slow to import: Kedro resolves the annotations of nodes at every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from scvi.external import MRVI
    from scvi.model import TOTALVI
    from scvi.model.base import BaseModelClass
    from torch import Tensor
else:
    AnnData = Axes = AxesImage = BaseModelClass = Figure = MRVI = PathCollection = TOTALVI = Tensor = Any

__all__ = [
    "MRVI", "TOTALVI", "AnnData", "Axes", "AxesImage", "BaseModelClass", "Figure", "PathCollection", "Tensor",
]  # fmt: skip
