"""Checked counts, quality metrics and highly variable genes from the user's file."""

from scvi_downstream.pipelines.declaration import Analysis, Obs

ANALYSIS = Analysis(name="preparation", options="PreparationOptions", joins={"cell_cycle": Obs()})
