"""Samples compared by MrVI: distances, effects of conditions, abundance, counterfactual expression."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
