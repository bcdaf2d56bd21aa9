"""Figures: one function a file, one style."""
