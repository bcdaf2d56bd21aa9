from .pipeline import create_baseline_pipeline, create_pipeline

__all__ = ["create_baseline_pipeline", "create_pipeline"]
