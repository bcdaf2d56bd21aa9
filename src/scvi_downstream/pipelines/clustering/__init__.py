"""Clusters of a latent, and how far they can be trusted."""
