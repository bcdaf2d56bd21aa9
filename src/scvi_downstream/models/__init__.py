"""The model families: options, fitting, reading back."""

from scvi_downstream.models.families import FAMILIES, parse_spec
from scvi_downstream.models.saved import SavedModel

__all__ = ["FAMILIES", "SavedModel", "parse_spec"]
