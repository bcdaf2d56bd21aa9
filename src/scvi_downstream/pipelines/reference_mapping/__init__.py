"""The study's cells mapped onto a reference model by scArches surgery."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
