"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
