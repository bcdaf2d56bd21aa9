"""Runs of a study, or of several, on one board."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
