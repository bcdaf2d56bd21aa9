"""Adaptive search for the hyperparameters of one model."""
