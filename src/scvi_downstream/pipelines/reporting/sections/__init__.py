"""The report's table of contents, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scvi_downstream.pipelines.reporting.sections.annotation import ANNOTATION, REFERENCE_MAPPING
from scvi_downstream.pipelines.reporting.sections.batch_effects import BATCH_EFFECTS
from scvi_downstream.pipelines.reporting.sections.cells import CLUSTERS, EXPRESSION, IMPUTATION
from scvi_downstream.pipelines.reporting.sections.cross_validation import CROSS_VALIDATION
from scvi_downstream.pipelines.reporting.sections.factors import FACTORS
from scvi_downstream.pipelines.reporting.sections.items import MODEL, PRIMARY, Entry, Item, Section
from scvi_downstream.pipelines.reporting.sections.metadata import METADATA
from scvi_downstream.pipelines.reporting.sections.models import COMPARISON, LATENT, QUALITY, TRAINING
from scvi_downstream.pipelines.reporting.sections.prediction import PREDICTION
from scvi_downstream.pipelines.reporting.sections.predictive_checks import PREDICTIVE_CHECKS
from scvi_downstream.pipelines.reporting.sections.proteins import PROTEINS
from scvi_downstream.pipelines.reporting.sections.samples import SAMPLES
from scvi_downstream.pipelines.reporting.sections.search import SEARCH
from scvi_downstream.pipelines.reporting.sections.stability import STABILITY
from scvi_downstream.pipelines.reporting.sections.trajectory import TRAJECTORY

__all__ = ["SECTIONS", "Entry", "Item", "Section", "expand", "report_contents"]

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
