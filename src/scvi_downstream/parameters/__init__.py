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
from scvi_downstream.parameters.study import StudyParameters

__all__ = [
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
    "ImputationOptions",
    "Keys",
    "MarkerNamingOptions",
    "MarkerOptions",
    "MetadataAnalysisOptions",
    "Options",
    "PreparationOptions",
    "ReferenceMappingOptions",
    "ReportingOptions",
    "Seed",
    "Share",
    "StudyParameters",
    "ThinningOptions",
    "TrainingOptions",
]
