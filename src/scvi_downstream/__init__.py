"""Everything scvi-tools models can tell about single-cell counts, in one tracked Kedro run."""

__version__ = "0.1.0"
