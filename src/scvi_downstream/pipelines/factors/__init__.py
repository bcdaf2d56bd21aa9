"""What latent dimensions stand for: genes that load on them, covariates that they follow."""

from .pipeline import create_model_pipeline, create_pipeline

__all__ = ["create_model_pipeline", "create_pipeline"]
