"""Everything joined: one AnnData and one page for people."""

from .pipeline import EVIDENCE, create_pipeline

__all__ = ["EVIDENCE", "create_pipeline"]
