"""Types by which Kedro-Viz knows what a dataset's ``preview`` returns; Kedro keeps them in a private module."""

from kedro_datasets._typing import ImagePreview, JSONPreview, PlotlyPreview, TablePreview

__all__ = ["ImagePreview", "JSONPreview", "PlotlyPreview", "TablePreview"]
