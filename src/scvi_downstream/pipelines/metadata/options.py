"""Options of the analyses of the primary model, and of the report."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class MetadataAnalysisOptions(Options):
    """Association of metadata with the embedding, the clusters and expression."""

    columns: tuple[str, ...] | None
    groups: str | None
    fdr: Share
    max_categories: Annotated[int, Field(ge=2)]
    top_genes: PositiveInt
