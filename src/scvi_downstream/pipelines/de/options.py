"""Options of differential expression."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share
from scvi_downstream.statistics.bayesian_expression import BayesianTest

LEAST_CHANGE = 0.25


class MarkerOptions(Options):
    """Which genes count as markers of a group."""

    max_per_group: PositiveInt
    min_lfc: Annotated[float, Field(ge=0)]
    min_fraction: Annotated[float, Field(ge=0, le=1)]
    min_fraction_difference: Annotated[float, Field(ge=-1, le=1)]
    fdr: Share


class DeOptions(Options):
    """Differential expression: groupings, what is called, the Bayesian test and the classical ones beside it."""

    groupings: tuple[Literal["clusters", "labels"], ...]
    pairs: tuple[tuple[str, str, str], ...]
    conditions: bool
    mode: Literal["change", "vanilla"]
    delta: PositiveFloat | None
    fdr: Share
    credible_interval: Share
    n_samples: PositiveInt
    weights: Literal["uniform", "importance"]
    batch_correction: bool
    min_cells_per_group: Annotated[int, Field(ge=2)]
    wilcoxon: bool
    pseudobulk: bool
    top_genes: PositiveInt
    markers: MarkerOptions

    @property
    def least_change(self) -> float:
        """The absolute log2 fold change of means that counts: ``delta``, and a quarter where scvi-tools chooses it."""
        return LEAST_CHANGE if self.delta is None else self.delta

    @property
    def bayesian(self) -> BayesianTest:
        """What the Bayesian test needs to know."""
        return BayesianTest(**{field.name: getattr(self, field.name) for field in fields(BayesianTest)})
