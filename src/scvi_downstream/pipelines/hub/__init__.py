"""One fitted model as a folder for scvi-hub."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
