"""The capabilities, in the order of the report: a new one is a folder and a line of this list."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scvi_downstream.pipelines.declaration import Analysis

FOLDERS = (
    "preparation",
    "training",
    "embedding",
    "clustering",
    "annotation",
    "reference_mapping",
    "de",
    "factors",
    "batch_effects",
    "metadata",
    "samples",
    "trajectory",
    "proteins",
    "imputation",
    "prediction",
    "evaluation",
    "comparison",
    "sweep",
    "search",
    "predictive_checks",
    "cross_validation",
    "stability",
    "hub",
    "compare_runs",
    "reporting",
)


@cache
def analyses() -> tuple[Analysis, ...]:
    """What each of the folders declares."""
    return tuple(import_module(f"{__name__}.{folder}").ANALYSIS for folder in FOLDERS)
