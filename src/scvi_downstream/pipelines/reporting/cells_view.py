"""What the first screen of the report shows of the cells: two layouts, and colours to choose from, in few bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, draw_order
from scvi_downstream.runtime.slow_types import AnnData

MOST_CELLS = 30_000
"""Cells that a browser turns without stutter, and that a page holds in a megabyte or two."""
MOST_CATEGORIES = 60
"""Of a column: a longer legend than this is no help."""
LEVELS = 254
"""Steps of a number's colour; 255 stands for a missing value."""


def view_cells(analysed: AnnData, columns: Iterable[str]) -> dict[str, Any]:
    """The layouts ``X_umap`` and ``X_umap_3d`` and chosen columns of ``obs``, ready for a page.

    Parameters
    ----------
    analysed
        ``n_cells`` with both layouts, and ``uns["<column>_colors"]`` of categorical columns. Of more than 30,000 cells
        a fixed random sample is shown.
    columns
        Columns to colour by, the first one first; those that are not there, hold one value, or more than 60 categories
        are left out.

    Returns
    -------
    ``n_cells``, ``names`` (of the ``n_shown`` cells), ``layouts`` (``2`` and ``3`` → base64 of little-endian uint16,
    cell by cell, scaled to the longest side) and ``colours``: per column ``title``, ``kind``, ``values`` (base64, one
    byte a cell), and ``categories`` (name, colour, number of all cells) or ``low`` and ``high``.
    """
    shown = np.sort(draw_order(analysed.n_obs)[:MOST_CELLS])
    colours = (_colour(analysed, name, shown) for name in dict.fromkeys(columns) if name in analysed.obs)
    return {
        "n_cells": int(analysed.n_obs),
        "names": analysed.obs_names[shown].astype(str).tolist(),
        "layouts": {
            str(layout.shape[1]): _packed(_scaled(layout[shown]))
            for layout in (np.asarray(analysed.obsm[key]) for key in ("X_umap", "X_umap_3d"))
        },
        "colours": [colour for colour in colours if colour is not None],
    }


def _scaled(layout: np.ndarray) -> np.ndarray:
    """Coordinates from 0 to 65,535 along the longest side, so that no side is stretched."""
    low, high = layout.min(axis=0), layout.max(axis=0)
    longest = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    return np.round((layout - middle) / longest * 65_535 + 32_767.5).clip(0, 65_535).astype("<u2")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _colour(analysed: AnnData, name: str, shown: np.ndarray) -> dict[str, Any] | None:
    column = analysed.obs[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        sizes = column.value_counts(sort=False)
        if not (sizes > 0).sum() > 1 or len(sizes) > MOST_CATEGORIES:
            return None
        colors = analysed.uns.get(f"{name}_colors", [MISSING] * len(sizes))
        return {
            "title": name,
            "kind": "category",
            "values": _packed(column.cat.codes.to_numpy()[shown].astype(np.uint8)),  # -1 becomes 255
            "categories": [
                [str(category), str(color), int(size)]
                for category, color, size in zip(sizes.index, colors, sizes, strict=True)
            ],
        }
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return None
    values = column.to_numpy(np.float64, na_value=np.nan)
    known = values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        return None
    # a handful of extreme cells would leave one colour to all others
    low, high = np.quantile(known, [0.005, 0.995])
    low, high = (low, high) if low < high else (known.min(), known.max())
    levels = np.where(np.isfinite(values), ((values - low) / (high - low)).clip(0, 1) * LEVELS, 255)
    return {
        "title": name,
        "kind": "number",
        "values": _packed(np.round(levels[shown]).astype(np.uint8)),
        "low": float(low),
        "high": float(high),
    }
