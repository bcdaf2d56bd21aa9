"""Does the fitted model generate counts like those observed?"""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
