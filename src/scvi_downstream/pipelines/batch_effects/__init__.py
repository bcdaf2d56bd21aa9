"""Batch structure before and after the model: how much is technique, how much is biology."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
