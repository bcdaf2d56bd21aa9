"""How well a model describes cells that were held out, fold by fold and batch by batch."""

from .pipeline import create_model_pipeline

__all__ = ["create_model_pipeline"]
