"""Options of the clusterings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options


class ClusteringOptions(Options):
    """Leiden resolutions, k-means and hierarchical clustering."""

    leiden_resolutions: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    kmeans_k: PositiveInt | None
    kmeans_max_k: Annotated[int, Field(ge=2)]
    hierarchical_k: PositiveInt | None
    min_stability: Annotated[float, Field(ge=0, le=1)]
    stability_replicates: PositiveInt

    @property
    def resolutions(self) -> list[float]:
        """The Leiden resolutions from the coarsest to the finest, each once."""
        return sorted(set(self.leiden_resolutions))


def leiden_column(resolution: float) -> str:
    """Column of a resolution: ``leiden_0.5``, ``leiden_1``."""
    return f"leiden_{resolution:g}"
