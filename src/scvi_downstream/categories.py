"""Obs columns as categories: strings, complete, without unused levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import UNKNOWN

MISSING_TEXTS = frozenset({"", "nan", "NaN", "<NA>"})
"""Strings that missing values become on their way through text files and ``astype(str)``."""


def text_of(value: Any) -> str:
    """A value as the name of a category: ``1`` for 1 and 1.0, ``True`` for a boolean."""
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def as_categories(values: pd.Series) -> pd.Categorical:
    """Values as unordered string categories without unused levels.

    Parameters
    ----------
    values
        Any type. The levels of a categorical keep their order; others are sorted, numbers as numbers.

    Returns
    -------
    Categories; missing where the value is missing or an empty or ``nan`` string.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels, codes = values.cat.categories, values.cat.codes.to_numpy()
    else:
        codes, found = pd.factorize(values.astype(object))
        levels = pd.Index(found, dtype=object)
    texts = [text_of(level) for level in levels]
    named = np.array([None if text in MISSING_TEXTS else text for text in texts] + [None], dtype=object)[
        codes
    ]
    used = [texts[code] for code in np.unique(codes[codes >= 0])]
    known = [text for text in dict.fromkeys(used) if text not in MISSING_TEXTS]
    if not isinstance(values.dtype, pd.CategoricalDtype):
        known.sort(key=_natural)
    return pd.Categorical(pd.array(named, dtype=object), categories=pd.Index(known, dtype=str))


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def with_unknown(labels: pd.Categorical, unknown_labels: tuple[str, ...]) -> pd.Categorical:
    """Labels in which missing ones and those that say "no label" are the category ``unknown``, the last one.

    Parameters
    ----------
    labels
        Categories of ``as_categories``.
    unknown_labels
        Names, in any case, of what is no label.
    """
    no_label = {text.strip().lower() for text in (*unknown_labels, UNKNOWN)}
    kept = [name for name in labels.categories if str(name).lower() not in no_label]
    known = labels.set_categories(kept)
    if not known.isna().any():
        return known
    return known.add_categories([UNKNOWN]).fillna(UNKNOWN)
