"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from .pipeline import OF_REPRESENTATION, create_pipeline, create_representation_pipeline

__all__ = ["OF_REPRESENTATION", "create_pipeline", "create_representation_pipeline"]
