"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from .pipeline import create_pipeline, create_representation_pipeline

__all__ = ["create_pipeline", "create_representation_pipeline"]
