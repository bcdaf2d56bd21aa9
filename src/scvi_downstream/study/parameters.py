"""The whole of a study's parameters: what is set at the top level, and the options of every capability."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field, PositiveInt, create_model

from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines import analyses
from scvi_downstream.runtime.options import STUDY_NAME, Accelerator, Options, Seed


class TopLevel(Options):
    """What the user sets of the study itself; the same names stand in ``conf/base/parameters.yml``."""

    study: Annotated[str, Field(pattern=STUDY_NAME)]
    input: str
    data_root: str = "data"
    counts_layer: str | None = None
    batch_key: str | None = None
    label_key: str | None = None
    sample_key: str | None = None
    condition_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    protein_key: str | None = None
    metadata: str | None = None
    marker_table: str | None = None
    reference: str | None = None
    reference_counts: str | None = None
    seed: Seed = 0
    accelerator: Accelerator = "auto"
    primary: str
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    sweep: dict[str, dict[str, list[Any]]] = Field(default_factory=dict)
    training: TrainingOptions = TrainingOptions()
    runs: tuple[str, ...] = ()
    workers: PositiveInt | None = None
    incremental: bool = True


@cache
def study_parameters() -> type[TopLevel]:
    """The schema of ``conf/*/parameters*.yml`` after defaults, environment and ``--params``."""
    options: dict[str, Any] = {
        analysis.options_key: (analysis.options_class, Field(default_factory=analysis.options_class))
        for analysis in analyses()
        if analysis.options
    }
    return create_model("StudyParameters", __base__=TopLevel, **options)
