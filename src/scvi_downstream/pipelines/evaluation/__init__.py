from .pipeline import create_baseline_pipeline, create_pipeline, create_trial_pipeline

__all__ = ["create_baseline_pipeline", "create_pipeline", "create_trial_pipeline"]
