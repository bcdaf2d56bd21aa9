"""Runs of a study, or of several, on one board."""
