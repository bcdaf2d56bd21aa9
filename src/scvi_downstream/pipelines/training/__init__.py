"""Fit every model of the study."""
