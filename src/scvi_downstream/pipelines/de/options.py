"""Options of differential expression."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share
from scvi_downstream.statistics.bayesian_expression import BayesianTest


class MarkerOptions(Options):
    """Which genes count as markers of a group."""

    max_per_group: PositiveInt = 25
    min_lfc: Annotated[float, Field(ge=0)] = 0.5
    min_fraction: Annotated[float, Field(ge=0, le=1)] = 0.2
    min_fraction_difference: Annotated[float, Field(ge=-1, le=1)] = 0.1
    fdr: Share = 0.05


class DeOptions(Options):
    """Differential expression: groupings, the Bayesian test and the classical ones beside it."""

    groupings: tuple[Literal["clusters", "labels"], ...] = ("clusters", "labels")
    pairs: tuple[tuple[str, str, str], ...] = ()
    conditions: bool = True
    mode: Literal["change", "vanilla"] = "change"
    delta: PositiveFloat | None = 0.25
    fdr: Share = 0.05
    credible_interval: Share = 0.95
    n_samples: PositiveInt = 5000
    weights: Literal["uniform", "importance"] = "uniform"
    batch_correction: bool = False
    min_cells_per_group: Annotated[int, Field(ge=2)] = 10
    wilcoxon: bool = True
    pseudobulk: bool = True
    min_samples_per_group: Annotated[int, Field(ge=2)] = 2
    min_cells_per_sample: PositiveInt = 5
    top_genes: PositiveInt = 100
    markers: MarkerOptions = MarkerOptions()

    @property
    def bayesian(self) -> BayesianTest:
        """What the Bayesian test needs to know."""
        return BayesianTest(**{field.name: getattr(self, field.name) for field in fields(BayesianTest)})
