"""Options of the analyses of the primary model, and of the report."""

from __future__ import annotations

from pydantic import PositiveInt

from scvi_downstream.runtime.options import Options


class ReportingOptions(Options):
    """The report's head and the length of its tables."""

    title: str | None
    table_rows: PositiveInt
