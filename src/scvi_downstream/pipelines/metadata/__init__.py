"""What annotations of cells and samples go together with: embedding, composition, expression."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
