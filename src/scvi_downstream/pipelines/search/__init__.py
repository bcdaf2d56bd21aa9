"""Adaptive search for the hyperparameters of one model."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
