"""MLflow, and the only folder that knows it."""

from scvi_downstream.tracking.runs import StudyTracker, flatten, tracking_uri

__all__ = ["StudyTracker", "flatten", "tracking_uri"]
