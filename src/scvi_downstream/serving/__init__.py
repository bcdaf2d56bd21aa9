"""A fitted model that embeds cells which it has never seen."""

from scvi_downstream.serving.cells import ModelInput, describe_input
from scvi_downstream.serving.embedder import Embedder

__all__ = ["Embedder", "ModelInput", "describe_input"]
