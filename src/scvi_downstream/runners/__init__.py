"""How `kedro run` runs: only what is missing or has changed, trials side by side."""

from scvi_downstream.runners.study_runner import StudyRunner

__all__ = ["StudyRunner"]
