"""Latent space, neighbours graph and UMAPs."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="embedding", box="models", options="EmbeddingOptions", evidence="{primary}.umap")
