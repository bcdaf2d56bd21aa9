"""Checked counts, quality metrics and highly variable genes from the user's file."""
