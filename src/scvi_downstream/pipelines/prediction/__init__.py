"""What cells would express in another condition: predicted from cells, scored against what is measured."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
