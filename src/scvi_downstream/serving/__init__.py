"""A fitted model that embeds cells which it has never seen."""

from scvi_downstream.serving.embedder import Embedder
from scvi_downstream.serving.requirements import ModelInput, describe_input

__all__ = ["Embedder", "ModelInput", "describe_input"]
