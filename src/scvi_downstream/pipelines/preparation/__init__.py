"""Checked counts, quality metrics and highly variable genes from the user's file."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
