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
from scvi_downstream.parameters.cross_validation import CrossValidationOptions
from scvi_downstream.parameters.hub import HubOptions
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
from scvi_downstream.parameters.predictive_checks import PredictiveCheckOptions
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.parameters.search import Objective, SearchOptions
from scvi_downstream.parameters.stability import StabilityOptions
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
    "CrossValidationOptions",
    "DeOptions",
    "EmbeddingOptions",
    "EvaluationOptions",
    "FactorOptions",
    "FateOptions",
    "HubOptions",
    "ImputationOptions",
    "Keys",
    "MarkerNamingOptions",
    "MarkerOptions",
    "MetadataAnalysisOptions",
    "Objective",
    "Options",
    "PredictionOptions",
    "PredictiveCheckOptions",
    "PreparationOptions",
    "PrincipalGraphOptions",
    "ProteinsOptions",
    "ReferenceMappingOptions",
    "ReportingOptions",
    "SamplesOptions",
    "SearchOptions",
    "Seed",
    "Share",
    "SlingshotOptions",
    "StabilityOptions",
    "StudyParameters",
    "ThinningOptions",
    "TrainingOptions",
    "TrajectoryOptions",
    "TrendOptions",
]
