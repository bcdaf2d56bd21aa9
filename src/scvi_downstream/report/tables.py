"""Tables and summaries as rows of text, ready for a page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.report.sections import names

ABSENT, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
# Words that are written otherwise than in lower case.
_WORDS = {
    word.lower(): word
    for word in names(
        "ARI NMI ELBO LFC FDR LL UMAP PCA PCR AUC MSE NLL ASW BRAS DE MB "
        "GPU CPU HVG kBET iLISI cLISI scIB kNN k-means p k"
    )
} | {"kmeans": "k-means", "leiden": "Leiden"}
_HEADINGS = {
    "n_latent": "Latent dimensions",
    "n_layers": "Layers",
    "n_hidden": "Hidden units",
    "n_parameters": "Parameters",
    "n_cells": "Cells",
    "n_genes": "Genes",
    "n_clusters": "Clusters",
    "peak_memory_mb": "Peak memory (MB)",
    "pairs_is_de": "Called by pairs",
    "proba_de": "P(DE), pairs",
    "fraction1": "Share in group",
    "fraction2": "Share in the rest",
    "lfc_median": "LFC of pairs (log2)",
    "wilcoxon_p_adjusted": "Wilcoxon p (adjusted)",
    "pseudobulk_p_adjusted": "Pseudobulk p (adjusted)",
    "is_de": "Called",
    "n_called": "Called",
    "n_bayesian": "Called by pairs of cells",
    "n_wilcoxon": "Called by Wilcoxon",
    "n_pseudobulk": "Called by pseudobulk",
    "pareto": "Pareto front",
    "behind_best": "Behind the best",
}
_LOW, _HIGH = "_low", "_high"
_P_VALUE = re.compile(r"(^|_)p(_|$)|p_?val|p_?adj|q_?val")
_SMALLEST = 1e-300
_NESTED = ": "


@dataclass(frozen=True)
class Cell:
    """Text to read, and the value to sort by."""

    text: str
    sort: str
    numeric: bool


@dataclass(frozen=True)
class Column:
    """Heading to read, and the name in the file."""

    title: str
    name: str
    numeric: bool


@dataclass(frozen=True)
class TableView:
    """What the page shows of a table: ``rows`` of ``total``."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int
    groups: int

    @property
    def cut(self) -> bool:
        """Whether rows are left out."""
        return len(self.rows) < self.total


def heading(name: object) -> str:
    """``lfc_mean`` → ``LFC mean``; names that are already written for people stay as they are."""
    text = str(name)
    if _NESTED in text:
        return _NESTED.join(heading(part) for part in text.split(_NESTED))
    if text in _HEADINGS or text != text.lower():
        return _HEADINGS.get(text, text)
    spaced = re.sub(r"([a-z])(\d)$", r"\1 \2", text.replace("_", " "))
    words = [_WORDS.get(word, word) for word in spaced.split()]
    if not words:
        return text
    first = words[0]
    return " ".join([first if first in _WORDS.values() else first[0].upper() + first[1:], *words[1:]])


def number(value: float, name: object = "") -> str:
    """Whole numbers in full, others with three significant digits, p-values as ``1e-12``."""
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    lower = str(name).lower()
    if _P_VALUE.search(lower) and 0 <= value < _SMALLEST:
        return f"< {_SMALLEST:g}"
    if (_P_VALUE.search(lower) or "fdr" in lower) and 0 < value < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return (MINUS if value < 0 else "") + _plain_number(abs(float(value)))


def _plain_number(size: float) -> str:
    if size.is_integer() and size < 1e15:
        return f"{int(size):,}"
    if size < 1e-3 or size >= 1e7:
        return f"{size:.2e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{size:,.{max(0, 2 - math.floor(math.log10(size)))}f}"


def cell(value: Any, name: object = "") -> Cell:
    """One value of a table."""
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no", str(int(value)), numeric=False)
    if isinstance(value, int | float | np.integer | np.floating):
        return Cell(number(float(value), name), _sorted_by(float(value)), numeric=True)
    if value is None or value is pd.NA or value is pd.NaT:
        return Cell(ABSENT, "", numeric=False)
    if isinstance(value, list | tuple):
        parts = [cell(part, name).text for part in value]
        sentences = bool(parts) and all(part.endswith(".") for part in parts)
        text = (" " if sentences else ", ").join(parts) or ABSENT
        return Cell(text, text, numeric=False)
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}: {cell(part, key).text}" for key, part in value.items()) or ABSENT
        return Cell(text, text, numeric=False)
    return Cell(str(value), str(value), numeric=False)


def _sorted_by(value: float) -> str:
    """As JavaScript reads numbers; empty for NaN, which comes last in either order."""
    if math.isnan(value):
        return ""
    return repr(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def interval_cells(values: pd.DataFrame, name: object = "") -> list[Cell]:
    """``0.71 (0.68–0.74)``, sorted by the value, with one or two digits that the intervals leave uncertain.

    ``values`` are value, lower and upper end, one row a cell; without an interval the value stands alone.
    """
    rows = values.astype(float).to_numpy()
    halves = (rows[:, 2] - rows[:, 1]) / 2
    halves = halves[np.isfinite(halves) & (halves > 0)]
    if not halves.size:
        return [cell(value, name) for value in rows[:, 0]]
    digits = min(max(0, -math.floor(round(math.log10(np.median(halves) / 3), 9))), 6)
    return [_interval_cell(*map(float, row), digits=digits) for row in rows]


def _interval_cell(value: float, low: float, high: float, *, digits: int) -> Cell:
    if not math.isfinite(value):
        return cell(value)
    text, *ends = (f"{part:,.{digits}f}".replace("-", MINUS) for part in (value, low, high))
    if math.isfinite(low) and math.isfinite(high):
        text += f" ({(' to ' if low < 0 else '\N{EN DASH}').join(ends)})"
    return Cell(text, _sorted_by(value), numeric=True)


def with_bounds(columns: Sequence[str], table: pd.DataFrame) -> list[str]:
    """Chosen columns that the table holds, each followed by the ends of its interval."""
    wanted = (name for column in columns for name in (column, column + _LOW, column + _HIGH))
    return [name for name in dict.fromkeys(wanted) if name in table]


def table_view(table: pd.DataFrame, rows: int | None = None, groups: Sequence[str] = ()) -> TableView:
    """The first ``rows`` of a table (``None``: all), or of each of its ``groups``, in the order that it has.

    A named index becomes the first column, columns to group by that the table does not hold are ignored, and the
    numbers ``x``, ``x_low`` and ``x_high`` become one column.
    """
    shown = table.reset_index() if table.index.name is not None else table
    total, n_groups = len(shown), 1
    by = [name for name in groups if name in shown.columns]
    if rows is not None:
        if by:
            grouped = shown.groupby(by, sort=False, observed=True)
            n_groups, shown = grouped.ngroups, grouped.head(rows)
        else:
            shown = shown.head(rows)
    shown = shown.rename(columns=str)
    intervals = _intervals(shown)
    ends = {end for pair in intervals.values() for end in pair}
    names = [name for name in shown.columns if name not in ends]
    columns = [_cells(shown, name, intervals.get(name)) for name in names]
    headings = tuple(
        Column(heading(name), name, _is_numeric(shown[name], cells))
        for name, cells in zip(names, columns, strict=True)
    )
    return TableView(headings, tuple(zip(*columns, strict=True)), total, n_groups)


def _intervals(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """By value: the columns of its lower and upper end."""
    found = {name: (f"{name}{_LOW}", f"{name}{_HIGH}") for name in table.columns}
    return {
        name: ends
        for name, ends in found.items()
        if all(end in table and pd.api.types.is_numeric_dtype(table[end]) for end in (name, *ends))
    }


def _cells(table: pd.DataFrame, name: str, ends: tuple[str, str] | None) -> list[Cell]:
    if ends is None:
        return [cell(value, name) for value in table[name]]
    return interval_cells(table[[name, *ends]], name)


def _is_numeric(values: pd.Series, cells: Sequence[Cell]) -> bool:
    """Whether to sort by number: also where numbers stand among missing values of another type."""
    if not cells:
        return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return any(each.numeric for each in cells) and all(each.numeric or not each.sort for each in cells)


def flat(summary: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping as one level: ``{"a": {"b": 1}}`` → ``{"a: b": 1}``."""
    entries: dict[str, Any] = {}
    for key, value in summary.items():
        name = f"{prefix}{_NESTED}{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            entries |= flat(value, name)
        else:
            entries[name] = value
    return entries


def summary_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """One summary as a table of two columns."""
    entries = flat(summary)
    columns = {"quantity": [heading(name) for name in entries], "value": list(entries.values())}
    return pd.DataFrame(columns, dtype=object)


def summaries_table(summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """The summaries of several models as a table: one row a model."""
    rows = [
        {"model": model, **{key: value for key, value in flat(summary).items() if key != "model"}}
        for model, summary in summaries
    ]
    return pd.DataFrame(rows).infer_objects()
