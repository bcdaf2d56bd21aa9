"""Batch structure before and after the model: how much is technique, how much is biology."""
