"""The columns to analyse: found, joined, typed, described."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import align_metadata, as_categories
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN

N_SHOWN = 3
MOST_CODES = 10


def gather_columns(
    obs: pd.DataFrame,
    metadata: pd.DataFrame | None,
    keys: Keys,
    metadata_key: str | None,
    options: MetadataAnalysisOptions,
) -> tuple[pd.DataFrame, pd.Series, dict[str, Any]]:
    """Columns to analyse, of obs and of the user's table.

    Parameters
    ----------
    obs
        One row a cell; may hold the table's columns already.
    metadata
        One row a cell or a sample, or ``None``.
    keys
        The condition and the covariates are analysed by default.
    metadata_key
        Column of the table to join on.
    options
        ``columns`` to analyse instead.

    Returns
    -------
    Cells × columns as :func:`typed` makes them; where each comes from (``obs``, ``table``, ``obs and table``);
    the facts of the join, empty without a table.

    Raises
    ------
    InputError
        Nothing to analyse, a column that does not exist, or a column of the table that obs holds with other
        values.
    """
    table, facts = pd.DataFrame(index=obs.index), dict[str, Any]()
    if metadata is not None:
        table, facts = align_metadata(obs, metadata, metadata_key, keys.sample_key)
        table = table.rename(columns=lambda name: str(name).replace("/", "_"))
        _require_same_values(obs, table, keys)
    names = _chosen(obs, table, keys, options)
    sources = {
        name: "obs and table" if name in table and name in obs else "table" if name in table else "obs"
        for name in names
    }
    columns = {name: typed(obs[name] if name in obs else table[name]) for name in names}
    return pd.DataFrame(columns, index=obs.index), pd.Series(sources, dtype=object), facts


def typed(values: pd.Series) -> pd.Series:
    """Numbers as float64, everything else as categories of strings; what is missing stays missing."""
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not number:
        return pd.Series(as_categories(values), index=values.index, name=values.name)
    numbers = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
    return numbers.where(np.isfinite(numbers)).rename(values.name)


def analysed(annotations: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    """The columns that vary and have no more than ``max_categories`` categories."""
    return annotations[[name for name in annotations if not _why_not(annotations[name], options)]]


def describe_columns(
    annotations: pd.DataFrame,
    sources: pd.Series,
    units: pd.Series,
    notes: dict[str, str],
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """One row a column: what it was taken for, and what follows from that.

    Parameters
    ----------
    annotations
        Cells × columns.
    sources, units
        By column: where it comes from, and whether it is constant within samples (``sample``) or not (``cell``).
    notes
        By column: how it is tested.
    options
        Most categories of a column.

    Returns
    -------
    ``column``, ``source``, ``type`` (number or categories), ``unit``, ``n_values``, ``n_missing``,
    ``first_values``, ``note``.
    """
    rows = []
    for name, values in annotations.items():
        known = values.dropna()
        distinct = known.unique()
        shown = ", ".join(_shown(value) for value in distinct[:N_SHOWN])
        rows.append(
            {
                "column": name,
                "source": sources[name],
                "type": "number" if _is_number(values) else "categories",
                "unit": units[name],
                "n_values": len(distinct),
                "n_missing": int(values.isna().sum()),
                "first_values": shown + (", …" if len(distinct) > N_SHOWN else ""),
                "note": _why_not(values, options)
                or "; ".join(filter(None, [_codes(known), notes.get(name)])),
            }
        )
    columns = ["column", "source", "type", "unit", "n_values", "n_missing", "first_values", "note"]
    return pd.DataFrame(rows, columns=columns)


def _chosen(
    obs: pd.DataFrame, table: pd.DataFrame, keys: Keys, options: MetadataAnalysisOptions
) -> list[str]:
    if options.columns is not None:
        known = [*map(str, obs.columns), *map(str, table.columns)]
        for name in options.columns:
            if name not in known:
                raise InputError(
                    f"metadata_analysis.columns names '{name}', which is neither in obs nor in the metadata table"
                    f"{closest(name, known)}"
                )
    by_default = [
        *table.columns,
        *filter(None, [keys.condition_key]),
        *keys.categorical_covariates,
        *keys.continuous_covariates,
    ]
    names = list(dict.fromkeys(by_default if options.columns is None else options.columns))
    if not names:
        raise InputError(
            "there is no column to analyse: give a table by metadata=<CSV, TSV or Parquet>, set condition_key, or "
            "name obs columns in metadata_analysis.columns"
        )
    return names


def _require_same_values(obs: pd.DataFrame, table: pd.DataFrame, keys: Keys) -> None:
    for name in table.columns.intersection(obs.columns):
        compared = table[name].notna().to_numpy()
        if name == keys.label_key:
            compared &= obs[name].astype(str).to_numpy() != UNKNOWN
        ours, theirs = obs.loc[compared, name], table.loc[compared, name]
        differ = ~_equal(ours, theirs)
        if differ.any():
            at = int(np.argmax(differ))
            raise InputError(
                f"metadata column '{name}' is in obs with other values ({int(differ.sum()):,} cells differ, first "
                f"'{ours.index[at]}': '{ours.iloc[at]}' in obs, '{theirs.iloc[at]}' in the table); rename it in "
                "the metadata table, or run preparation again with this table"
            )


def _equal(ours: pd.Series, theirs: pd.Series) -> np.ndarray:
    if _is_number(typed(ours)) and _is_number(typed(theirs)):
        return np.isclose(typed(ours), typed(theirs), rtol=1e-5, equal_nan=True)
    left, right = (np.asarray(as_categories(values), dtype=object) for values in (ours, theirs))
    return (left == right) | (pd.isna(left) & pd.isna(right))


def _is_number(values: pd.Series) -> bool:
    return not isinstance(values.dtype, pd.CategoricalDtype)


def _why_not(values: pd.Series, options: MetadataAnalysisOptions) -> str:
    n_values = values.nunique()
    if n_values < 2:
        return "not analysed: " + ("no value at all" if n_values == 0 else "the same in all cells")
    if not _is_number(values) and n_values > options.max_categories:
        return f"not analysed: {n_values:,} categories, more than {options.max_categories}"
    return ""


def _codes(known: pd.Series) -> str:
    if _is_number(known) and known.nunique() <= MOST_CODES and (known == known.round()).all():
        return "whole numbers, analysed as a number; write them as words to compare groups"
    return ""


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
