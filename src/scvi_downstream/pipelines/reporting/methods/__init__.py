"""The methods section of a paper, of exactly what a run's parameters call for."""

from scvi_downstream.pipelines.reporting.methods.analyses import (
    describe_clustering,
    describe_comparison,
    describe_expression_tests,
    describe_imputation,
    describe_software,
)
from scvi_downstream.pipelines.reporting.methods.annotation import describe_annotation
from scvi_downstream.pipelines.reporting.methods.batch_effects import describe_batch_effects
from scvi_downstream.pipelines.reporting.methods.cross_validation import describe_cross_validation
from scvi_downstream.pipelines.reporting.methods.factors import describe_factors
from scvi_downstream.pipelines.reporting.methods.metadata import describe_metadata
from scvi_downstream.pipelines.reporting.methods.prediction import describe_prediction
from scvi_downstream.pipelines.reporting.methods.predictive_checks import describe_predictive_checks
from scvi_downstream.pipelines.reporting.methods.proteins import describe_proteins
from scvi_downstream.pipelines.reporting.methods.reference_mapping import describe_reference_mapping
from scvi_downstream.pipelines.reporting.methods.samples import describe_samples
from scvi_downstream.pipelines.reporting.methods.search import describe_search
from scvi_downstream.pipelines.reporting.methods.stability import describe_stability
from scvi_downstream.pipelines.reporting.methods.study import (
    describe_embedding,
    describe_models,
    describe_preparation,
    describe_training,
)
from scvi_downstream.pipelines.reporting.methods.text import methods_text
from scvi_downstream.pipelines.reporting.methods.trajectory import describe_trajectory

__all__ = [
    "describe_annotation",
    "describe_batch_effects",
    "describe_clustering",
    "describe_comparison",
    "describe_cross_validation",
    "describe_embedding",
    "describe_expression_tests",
    "describe_factors",
    "describe_imputation",
    "describe_metadata",
    "describe_models",
    "describe_prediction",
    "describe_predictive_checks",
    "describe_preparation",
    "describe_proteins",
    "describe_reference_mapping",
    "describe_samples",
    "describe_search",
    "describe_software",
    "describe_stability",
    "describe_training",
    "describe_trajectory",
    "methods_text",
]
