"""What the cells are: labels transferred and scored, clusters named by marker genes."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
