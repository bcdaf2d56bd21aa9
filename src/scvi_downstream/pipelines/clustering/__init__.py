"""Clusters of a latent, and how far they can be trusted."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="clustering", options="ClusteringOptions", evidence="{primary}.clusters")
