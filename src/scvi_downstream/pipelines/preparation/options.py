"""How counts are checked, filtered and annotated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options


class CellFilters(Options):
    """Thresholds below or above which a cell or gene is dropped; ``None`` leaves a filter off."""

    min_counts: PositiveInt | None = None
    max_counts: PositiveInt | None = None
    min_genes: PositiveInt | None = None
    max_genes: PositiveInt | None = None
    max_mitochondrial_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    min_cells_per_gene: PositiveInt | None = None


class PreparationOptions(Options):
    """How counts are checked, filtered and annotated."""

    min_cells: PositiveInt = 50
    min_genes: PositiveInt = 10
    min_cells_per_batch: PositiveInt = 5
    filters: CellFilters = CellFilters()
    mitochondrial_prefixes: tuple[str, ...] = ("MT-", "mt-", "Mt-")
    gene_symbols: str | None = None
    n_top_genes: PositiveInt = 2000
    unknown_labels: tuple[str, ...] = (
        "unknown", "unassigned", "unlabeled", "unlabelled", "na", "nan", "none", "",
    )  # fmt: skip
    metadata_key: str | None = None
