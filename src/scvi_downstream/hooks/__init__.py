"""What happens around the nodes: the study's parameters, tracking, progress."""

from scvi_downstream.hooks.progress import ProgressHooks
from scvi_downstream.hooks.study import StudyHooks
from scvi_downstream.hooks.tracking import TrackingHooks

__all__ = ["ProgressHooks", "StudyHooks", "TrackingHooks"]
