"""Typed options of every pipeline: frozen, and unknown keys are forbidden."""

from scvi_downstream.parameters.analyses import (
    AnnotationOptions,
    BatchEffectOptions,
    DeOptions,
    FactorOptions,
    ImputationOptions,
    MarkerNamingOptions,
    MarkerOptions,
    MetadataAnalysisOptions,
    ReferenceMappingOptions,
    ReportingOptions,
    ThinningOptions,
)
from scvi_downstream.parameters.base import STUDY_NAME, UNKNOWN, Accelerator, Keys, Options, Seed, Share
from scvi_downstream.parameters.models import (
    CellFilters,
    ChampionRule,
    ClusteringOptions,
    ComparisonOptions,
    EmbeddingOptions,
    EvaluationOptions,
    PreparationOptions,
    TrainingOptions,
)
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.parameters.study import StudyParameters
from scvi_downstream.parameters.trajectory import (
    START_OPTIONS,
    FateOptions,
    PrincipalGraphOptions,
    SlingshotOptions,
    TrajectoryOptions,
    TrendOptions,
)

__all__ = [
    "START_OPTIONS",
    "STUDY_NAME",
    "UNKNOWN",
    "Accelerator",
    "AnnotationOptions",
    "BatchEffectOptions",
    "CellFilters",
    "ChampionRule",
    "ClusteringOptions",
    "ComparisonOptions",
    "DeOptions",
    "EmbeddingOptions",
    "EvaluationOptions",
    "FactorOptions",
    "FateOptions",
    "ImputationOptions",
    "Keys",
    "MarkerNamingOptions",
    "MarkerOptions",
    "MetadataAnalysisOptions",
    "Options",
    "PredictionOptions",
    "PreparationOptions",
    "PrincipalGraphOptions",
    "ProteinsOptions",
    "ReferenceMappingOptions",
    "ReportingOptions",
    "SamplesOptions",
    "Seed",
    "Share",
    "SlingshotOptions",
    "StudyParameters",
    "ThinningOptions",
    "TrainingOptions",
    "TrajectoryOptions",
    "TrendOptions",
]
