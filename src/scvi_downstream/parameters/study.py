"""The whole of a study's parameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.parameters.analyses import (
    AnnotationOptions,
    BatchEffectOptions,
    DeOptions,
    FactorOptions,
    ImputationOptions,
    MetadataAnalysisOptions,
    ReferenceMappingOptions,
    ReportingOptions,
)
from scvi_downstream.parameters.base import STUDY_NAME, Accelerator, Options, Seed
from scvi_downstream.parameters.cross_validation import CrossValidationOptions
from scvi_downstream.parameters.hub import HubOptions
from scvi_downstream.parameters.models import (
    ClusteringOptions,
    ComparisonOptions,
    EmbeddingOptions,
    EvaluationOptions,
    PreparationOptions,
    TrainingOptions,
)
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.parameters.predictive_checks import PredictiveCheckOptions
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.parameters.search import SearchOptions
from scvi_downstream.parameters.stability import StabilityOptions
from scvi_downstream.parameters.trajectory import TrajectoryOptions


class StudyParameters(Options):
    """The whole of ``conf/*/parameters*.yml`` after defaults, environment and ``--params``."""

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
    preparation: PreparationOptions = PreparationOptions()
    embedding: EmbeddingOptions = EmbeddingOptions()
    clustering: ClusteringOptions = ClusteringOptions()
    de: DeOptions = DeOptions()
    imputation: ImputationOptions = ImputationOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    comparison: ComparisonOptions = ComparisonOptions()
    annotation: AnnotationOptions = AnnotationOptions()
    reference_mapping: ReferenceMappingOptions = ReferenceMappingOptions()
    factors: FactorOptions = FactorOptions()
    batch_effects: BatchEffectOptions = BatchEffectOptions()
    metadata_analysis: MetadataAnalysisOptions = MetadataAnalysisOptions()
    trajectory: TrajectoryOptions = TrajectoryOptions()
    samples: SamplesOptions = SamplesOptions()
    proteins: ProteinsOptions = ProteinsOptions()
    prediction: PredictionOptions = PredictionOptions()
    predictive_checks: PredictiveCheckOptions = PredictiveCheckOptions()
    cross_validation: CrossValidationOptions = CrossValidationOptions()
    stability: StabilityOptions = StabilityOptions()
    search: SearchOptions = SearchOptions()
    hub: HubOptions = HubOptions()
    runs: tuple[str, ...] = ()
    workers: PositiveInt | None = None
    incremental: bool = True
    reporting: ReportingOptions = ReportingOptions()
