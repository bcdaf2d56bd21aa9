"""What of a model's results hangs on its seed: scores, clusters, top genes, the shape of the latent."""

from .pipeline import create_pipeline, create_trial_pipeline

__all__ = ["create_pipeline", "create_trial_pipeline"]
