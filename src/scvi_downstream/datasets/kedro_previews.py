"""The kinds of previews that Kedro-Viz knows: private to kedro-datasets, so they are imported here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NO_PREVIEW", "ImagePreview", "JSONPreview", "TablePreview", "table_preview"]

# Kedro-Viz shows nothing for it. The methods' return annotations must stay the bare type, as it reads the
# kind of preview there.
NO_PREVIEW: Any = None


def table_preview(table: pd.DataFrame) -> TablePreview:
    """Columns (a named index first) and rows of text and integers; floats are shortened to four digits."""
    shown = table if table.index.name is None else table.reset_index(allow_duplicates=True)
    rows = [[_preview_value(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    return TablePreview(
        {"columns": [str(column) for column in shown.columns], "index": list(range(len(rows))), "data": rows}
    )


def _preview_value(value: Any) -> str | int:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if pd.api.types.is_integer(value):
        return int(value)
    return f"{value:.4g}" if pd.api.types.is_float(value) else str(value)
