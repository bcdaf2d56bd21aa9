"""The whole of a study's parameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.hub.options import HubOptions
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reporting.options import ReportingOptions
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.runtime.options import STUDY_NAME, Accelerator, Options, Seed


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
