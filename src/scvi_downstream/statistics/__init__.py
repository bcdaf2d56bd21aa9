"""Tests and effect sizes that several pipelines share."""
