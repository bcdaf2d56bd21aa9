"""Colours of categories that the input brings, as scanpy keeps them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from scvi_downstream.cells.obs import text_of
from scvi_downstream.plots.style import MISSING
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData

_HEX = re.compile(r"(#[0-9A-Fa-f]{6})([0-9A-Fa-f]{2})?")


def own_colors(raw: AnnData, obs: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[str]]:
    """Colours of the categories of prepared obs columns, from ``uns["<column>_colors"]`` of the input.

    Parameters
    ----------
    raw
        The input: one colour a category of its own column, in their order.
    obs
        Columns of categories, which may be fewer than those of the input.

    Returns
    -------
    ``<column>_colors`` as ``#rrggbb``, one a category of ``obs``, ``unknown`` grey; and a sentence for each column
    whose colours cannot be used.
    """
    kept: dict[str, np.ndarray] = {}
    notes = []
    for column in obs.select_dtypes("category"):
        key = f"{column}_colors"
        if key not in raw.uns or column not in raw.obs:
            continue
        categories = raw.obs[column].astype("category").cat.categories
        given = [str(text_of(color)) for color in np.ravel(raw.uns[key])]
        found = [_HEX.fullmatch(color) for color in given]
        bad = [color for color, match in zip(given, found, strict=True) if match is None]
        if len(given) != len(categories) or bad:
            what = (
                f"'{bad[0]}' is no colour such as #1f77b4"
                if bad
                else f"{len(given)} for {len(categories)} categories"
            )
            notes.append(f"uns['{key}'] is not used, and the project's own colours are: {what}")
            continue
        names = [text_of(category) for category in categories]
        own = {name: match[1].lower() for name, match in zip(names, found, strict=True) if match} | {
            UNKNOWN: MISSING
        }
        prepared = map(text_of, obs[column].cat.categories)
        kept[key] = np.array([own.get(name, MISSING) for name in prepared], dtype=object)
    return kept, notes
