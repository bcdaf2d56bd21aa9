"""Clusters of a latent, and how far they can be trusted."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="clustering", box="models", options="ClusteringOptions", evidence="{primary}.clusters"
)
