"""What latent dimensions stand for: genes that load on them, covariates that they follow."""
