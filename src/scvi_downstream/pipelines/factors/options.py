"""Options of loadings and associations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class FactorOptions(Options):
    """Loadings of the latent dimensions and their association with covariates."""

    top_genes: PositiveInt
    fdr: Share
    min_effect: Annotated[float, Field(ge=0, le=1)]
