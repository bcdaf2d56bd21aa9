"""Latent space, neighbours graph and UMAPs."""
