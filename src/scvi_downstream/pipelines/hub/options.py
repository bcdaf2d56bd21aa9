"""Options of the export for scvi-hub."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scvi_downstream.runtime.options import Options

Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class HubOptions(Options):
    """Which model is exported, what leaves with it, and what its card says of rights and origin."""

    model: str | None
    minified: bool
    obs_columns: tuple[str, ...] | None
    description: str | None
    license: str | None
    citation: tuple[str, ...]
    tissues: tuple[str, ...]
    training_data_url: Url | None
    training_code_url: Url | None
