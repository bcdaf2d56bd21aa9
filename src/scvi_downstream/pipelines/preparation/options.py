"""How counts are checked, filtered and annotated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options


class CellFilters(Options):
    """Thresholds below or above which a cell or gene is dropped; ``None`` leaves a filter off."""

    min_counts: PositiveInt | None
    max_counts: PositiveInt | None
    min_genes: PositiveInt | None
    max_genes: PositiveInt | None
    max_mitochondrial_percent: Annotated[float, Field(ge=0, le=100)] | None
    min_cells_per_gene: PositiveInt | None


class PreparationOptions(Options):
    """How counts are checked, filtered and annotated."""

    min_cells: PositiveInt
    min_genes: PositiveInt
    min_cells_per_batch: PositiveInt
    filters: CellFilters
    mitochondrial_prefixes: tuple[str, ...]
    gene_symbols: str | None
    n_top_genes: PositiveInt
    unknown_labels: tuple[str, ...]  # fmt: skip
    metadata_key: str | None
