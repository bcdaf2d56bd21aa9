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
    data_root: str
    counts_layer: str | None
    batch_key: str | None
    label_key: str | None
    sample_key: str | None
    condition_key: str | None
    block_key: str | None
    min_cells_per_sample: PositiveInt
    min_samples_per_group: Annotated[int, Field(ge=2)]
    categorical_covariates: tuple[str, ...]
    continuous_covariates: tuple[str, ...]
    protein_key: str | None
    metadata: str | None
    marker_table: str | None
    reference: str | None
    reference_counts: str | None
    figure_style: str | None
    seed: Seed
    accelerator: Accelerator
    primary: str
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    sweep: dict[str, dict[str, list[Any]]]
    training: TrainingOptions
    runs: tuple[str, ...]
    workers: PositiveInt | None
    incremental: bool


@cache
def study_parameters() -> type[TopLevel]:
    """The schema of ``conf/*/parameters*.yml`` after defaults, environment and ``--params``."""
    options: dict[str, Any] = {
        analysis.options_key: (analysis.options_class, ...) for analysis in analyses() if analysis.options
    }
    return create_model("StudyParameters", __base__=TopLevel, **options)
