"""Clusters of a latent, and how far they can be trusted."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
