"""What of a model's results hangs on its seed: scores, clusters, top genes, the shape of the latent."""
