"""The report's table of contents, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scvi_downstream.pipelines.annotation.report import ANNOTATION
from scvi_downstream.pipelines.batch_effects.report import BATCH_EFFECTS
from scvi_downstream.pipelines.clustering.report import CLUSTERS
from scvi_downstream.pipelines.comparison.report import COMPARISON
from scvi_downstream.pipelines.cross_validation.report import CROSS_VALIDATION
from scvi_downstream.pipelines.de.report import EXPRESSION
from scvi_downstream.pipelines.embedding.report import LATENT
from scvi_downstream.pipelines.factors.report import FACTORS
from scvi_downstream.pipelines.imputation.report import IMPUTATION
from scvi_downstream.pipelines.metadata.report import METADATA
from scvi_downstream.pipelines.prediction.report import PREDICTION
from scvi_downstream.pipelines.predictive_checks.report import PREDICTIVE_CHECKS
from scvi_downstream.pipelines.preparation.report import QUALITY
from scvi_downstream.pipelines.proteins.report import PROTEINS
from scvi_downstream.pipelines.reference_mapping.report import REFERENCE_MAPPING
from scvi_downstream.pipelines.samples.report import SAMPLES
from scvi_downstream.pipelines.search.report import SEARCH
from scvi_downstream.pipelines.stability.report import STABILITY
from scvi_downstream.pipelines.training.report import TRAINING
from scvi_downstream.pipelines.trajectory.report import TRAJECTORY
from scvi_downstream.report.contents import MODEL, PRIMARY, Entry, Item

SECTIONS = (
    QUALITY,
    TRAINING,
    LATENT,
    CLUSTERS,
    ANNOTATION,
    REFERENCE_MAPPING,
    EXPRESSION,
    FACTORS,
    BATCH_EFFECTS,
    METADATA,
    SAMPLES,
    TRAJECTORY,
    PROTEINS,
    IMPUTATION,
    PREDICTION,
    COMPARISON,
    SEARCH,
    PREDICTIVE_CHECKS,
    CROSS_VALIDATION,
    STABILITY,
)


def expand(item: Item, primary: str, models: Sequence[str]) -> Iterator[Entry]:
    """The item once, or once for every model; what is shown of the primary by itself is not repeated."""
    if not item.per_model:
        yield Entry(item, item.dataset.replace(PRIMARY, primary), primary if PRIMARY in item.dataset else "")
        return
    alone = {other.dataset for section in SECTIONS for other in section.items}
    for model in models:
        if model != primary or item.dataset.replace(MODEL, PRIMARY) not in alone:
            yield Entry(item, item.dataset.replace(MODEL, model), model)


def report_contents(available: set[str], primary: str, models: Sequence[str]) -> list[str]:
    """Datasets that the report shows, in its order.

    Parameters
    ----------
    available
        Everything that the study's pipelines make.
    primary
        Name of the primary model.
    models
        Names of all models.
    """
    items = (item for section in SECTIONS for item in section.items)
    entries = (entry for item in items for entry in expand(item, primary, models))
    return [entry.dataset for entry in entries if entry.dataset in available]
