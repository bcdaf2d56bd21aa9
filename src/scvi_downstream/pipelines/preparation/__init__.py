"""Checked counts, quality metrics and highly variable genes from the user's file."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="preparation", options="PreparationOptions")
