"""Obs columns as categories: strings, complete, without unused levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.words import quoted

MISSING_TEXTS = frozenset({"", "nan", "NaN", "<NA>"})
"""Strings that missing values become on their way through text files and ``astype(str)``."""


def text_of(value: Any) -> str:
    """A value as the name of a category: ``1`` for 1 and 1.0, ``True`` for a boolean."""
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def batch_codes(obs: pd.DataFrame, keys: Keys) -> np.ndarray:
    """Code of each cell's batch, from 0; all 0 where no batch is named."""
    if not keys.batch_key:
        return np.zeros(len(obs), dtype=np.int64)
    return as_categories(obs[keys.batch_key]).codes.astype(np.int64)


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
    # Code -1, of missing values, takes the last.
    names = np.array([None if text in MISSING_TEXTS else text for text in texts] + [None], dtype=object)
    used = [texts[code] for code in np.unique(codes[codes >= 0])]
    known = [text for text in dict.fromkeys(used) if text not in MISSING_TEXTS]
    if not isinstance(values.dtype, pd.CategoricalDtype):
        known.sort(key=_numbers_first)
    return pd.Categorical(pd.array(names[codes], dtype=object), categories=pd.Index(known, dtype=str))


def _numbers_first(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def typed_values(values: pd.Series) -> pd.Series:
    """Numbers as float64, everything else as categories of strings; what is missing stays missing."""
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not number:
        return pd.Series(as_categories(values), index=values.index, name=values.name)
    numbers = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
    return numbers.where(np.isfinite(numbers)).rename(values.name)


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
    return known.add_categories([UNKNOWN]).fillna(UNKNOWN) if known.isna().any() else known


N_NAMED = 5


def join_metadata(
    obs: pd.DataFrame, metadata: pd.DataFrame | None, metadata_key: str | None, sample_key: str | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Obs with the columns of the table.

    Parameters
    ----------
    obs
        One row a cell.
    metadata
        One row a cell or a sample; ``None``: nothing is joined.
    metadata_key, sample_key
        As of :func:`align_metadata`.

    Returns
    -------
    A new obs, and the facts of :func:`align_metadata` for the summary.

    Raises
    ------
    InputError
        No row matches, a key is repeated, or a column is in obs already.
    """
    if metadata is None:
        return obs, {}
    aligned, facts = align_metadata(obs, metadata, metadata_key, sample_key)
    taken = aligned.columns.intersection(obs.columns, sort=False)
    if len(taken):
        named = quoted(taken, N_NAMED)
        raise InputError(
            f"metadata column {named} is in obs already; rename it in the metadata table or leave it out"
        )
    return pd.concat([obs, aligned], axis=1), facts


def align_metadata(
    obs: pd.DataFrame, metadata: pd.DataFrame, metadata_key: str | None, sample_key: str | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table's columns, one row a cell.

    Parameters
    ----------
    obs
        One row a cell; may hold columns of the same names.
    metadata
        One row a cell or a sample.
    metadata_key
        Column of the table to join on, and of obs where obs has it (else the cell names); ``None``: the
        column of the table that holds the most cell names, else ``sample_key``.
    sample_key
        Column of samples.

    Returns
    -------
    The columns besides the key, in the order of obs, missing where no row matches; and for the summary: the
    key, the columns, matched and unmatched cells with the first names that have no row, rows of the table
    without a cell and the first of them.

    Raises
    ------
    InputError
        No row matches or a key is repeated.
    """
    table = metadata.rename(columns=str)
    is_numbered = isinstance(table.index, pd.RangeIndex)
    table = table.reset_index(drop=is_numbered, names=table.index.name or "index")
    key, of_cells = _join_key(obs, table, metadata_key, sample_key)
    row_keys = pd.Series(np.asarray(as_categories(table[key]), dtype=object))
    _require_unique_keys(row_keys, key)
    table = table.drop(columns=key)
    named = np.flatnonzero(row_keys.notna())
    found = pd.Index(row_keys.iloc[named], dtype=object).get_indexer(of_cells)
    rows = np.where(found < 0, -1, named[found] if len(named) else -1)
    if (rows < 0).all():
        raise InputError(
            f"no row of the metadata matches a cell: its column '{key}' holds "
            f"'{next(iter(row_keys.dropna()), '')}', the cells have '{of_cells[0]}'; "
            "set preparation.metadata_key to a column that holds the same names"
        )
    aligned = table.reindex(np.where(rows < 0, len(table), rows)).set_index(obs.index)
    without_cells = np.setdiff1d(np.arange(len(table)), rows)
    without_row = pd.unique(pd.Series(of_cells[rows < 0], dtype=object))
    facts = {
        "key": key,
        "columns": list(table.columns),
        "n_rows": len(table),
        "n_rows_without_cells": len(without_cells),
        "rows_without_cells": [str(name) for name in row_keys.iloc[without_cells[:N_NAMED]]],
        "n_cells_matched": int((rows >= 0).sum()),
        "n_cells_unmatched": int((rows < 0).sum()),
        "names_without_row": [str(name) for name in without_row[:N_NAMED]],
    }
    return aligned, facts


def unmatched_sentence(facts: dict[str, Any]) -> str | None:
    """What of the table and of the cells found no partner, in one sentence; ``None`` when all did.

    ``facts`` are those of :func:`align_metadata`.
    """
    parts = []
    if facts.get("n_cells_unmatched"):
        total = facts["n_cells_unmatched"] + facts["n_cells_matched"]
        named = quoted(facts["names_without_row"], N_NAMED)
        parts.append(
            f"{facts['n_cells_unmatched']:,} of {total:,} cells have no row in the metadata "
            f"(column '{facts['key']}', first {named})"
        )
    if facts.get("n_rows_without_cells"):
        named = quoted(facts["rows_without_cells"], N_NAMED)
        parts.append(
            f"{facts['n_rows_without_cells']:,} of {facts['n_rows']:,} rows of the metadata match no cell "
            f"(first {named})"
        )
    return "; ".join(parts) or None


def _join_key(
    obs: pd.DataFrame, table: pd.DataFrame, metadata_key: str | None, sample_key: str | None
) -> tuple[str, np.ndarray]:
    """Column of the table, and the value of each cell that it is compared with."""
    names = obs.index.astype(str).to_numpy(dtype=object)
    if metadata_key is not None:
        if metadata_key not in table:
            raise InputError(
                f"preparation.metadata_key '{metadata_key}' is not a column of the metadata"
                f"{closest(metadata_key, table.columns)}"
            )
        in_obs = metadata_key in obs
        return metadata_key, np.asarray(as_categories(obs[metadata_key]), dtype=object) if in_obs else names
    cells = set(names)
    matches = {name: table[name].astype(object).astype(str).isin(cells).sum() for name in table.columns}
    best = max(matches, key=lambda name: matches[name], default=None)
    if best is not None and matches[best]:
        return best, names
    if sample_key and sample_key in table and sample_key in obs:
        return sample_key, np.asarray(as_categories(obs[sample_key]), dtype=object)
    by_sample = f"sample_key '{sample_key}' is not in both" if sample_key else "sample_key is not set"
    raise InputError(
        f"the metadata cannot be joined to obs: no column holds cell names such as '{names[0]}', and "
        f"{by_sample}; set preparation.metadata_key (columns of the table: {', '.join(table.columns[:8])})"
    )


def _require_unique_keys(row_keys: pd.Series, key: str) -> None:
    repeated = row_keys[row_keys.notna() & row_keys.duplicated()].unique()
    if len(repeated):
        raise InputError(
            f"metadata column '{key}' holds {len(repeated):,} values more than once, first {quoted(repeated)}; "
            "keep one row for each"
        )


REFERENCE_NAMES = (
    "ctrl", "control", "controls", "untreated", "unstimulated", "unstim", "vehicle", "mock", "dmso", "pbs",
    "healthy", "normal", "wt", "wildtype", "wild type", "wild-type", "baseline",
)  # fmt: skip


def reference_condition(conditions: Sequence[str]) -> str:
    """The condition that others are compared with: one named like a control, or else the first."""
    return next((name for name in conditions if name.strip().lower() in REFERENCE_NAMES), conditions[0])


def constant_within(values: pd.Series, groups: pd.Series) -> bool:
    """Whether no group of cells holds two values; missing ones do not count."""
    n_values = values.groupby(groups.to_numpy(), observed=True).nunique()
    return bool(n_values.max() <= 1)


def require_whole_samples(blocks: pd.Series, samples: pd.Series, block_key: str, sample_name: str) -> None:
    """Refuse blocks of cells, the option ``block_key``, that do not hold whole samples.

    Raises
    ------
    InputError
        A sample has cells of several blocks.
    """
    if not constant_within(blocks, samples):
        raise InputError(
            f"{block_key} has several values within one sample of '{sample_name}'; a block is made of whole samples, "
            "such as the donor of a treated and an untreated one"
        )


def split_by_condition(samples: pd.Series, conditions: pd.Series | None) -> pd.Series | None:
    """A sample's cells of each condition as a sample of their own, ``None`` where every sample has one condition.

    Parameters
    ----------
    samples
        Sample of each cell, as string categories.
    conditions
        Of the same cells; ``None``: there are none.
    """
    if conditions is None or constant_within(conditions, samples):
        return None
    texts = samples.astype(object).str.cat(conditions.astype(object).astype(str), sep=" × ")
    return texts.astype("category")


def sample_column(obs: pd.DataFrame, keys: Keys) -> str:
    """Which obs column holds the samples that are compared.

    ``sample_key``, or, where samples hold cells of several conditions, the column ``<sample_key>_x_<condition_key>``
    that :func:`with_crossed_samples` adds: one sample a donor and condition.

    Parameters
    ----------
    obs
        One row a cell, with the study's keys.
    keys
        Names the sample and the condition.

    Raises
    ------
    InputError
        When there is no ``sample_key``, or the crossed column is missing.
    """
    if not keys.sample_key:
        raise InputError("sample_key is empty, so there are no samples to compare; set it to an obs column")
    if _crossed(obs, keys) is None:
        return keys.sample_key
    name = crossed_name(keys)
    if name not in obs:
        raise InputError(
            f"samples of '{keys.sample_key}' hold several values of '{keys.condition_key}', but obs has no column "
            f"'{name}'; run the preparation again, which adds it"
        )
    return name


def with_crossed_samples(obs: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    """Obs with a category for each sample and condition, where samples hold cells of several conditions.

    Parameters
    ----------
    obs
        One row a cell, with the study's keys as categories.
    keys
        Names the sample and the condition.

    Returns
    -------
    The same obs, or one with the column ``<sample_key>_x_<condition_key>`` (``donor_1 × stim``).

    Raises
    ------
    InputError
        When obs has a column of that name with other values.
    """
    crossed = _crossed(obs, keys)
    if crossed is None:
        return obs
    name = crossed_name(keys)
    if name in obs and not (obs[name].astype(str).to_numpy() == crossed.astype(str).to_numpy()).all():
        raise InputError(
            f"obs has a column '{name}' already, which is not '{keys.sample_key}' crossed with "
            f"'{keys.condition_key}'; rename it"
        )
    return obs.assign(**{name: crossed})


def crossed_name(keys: Keys) -> str:
    """Name of the column of samples crossed with conditions."""
    return f"{keys.sample_key}_x_{keys.condition_key}"


def _crossed(obs: pd.DataFrame, keys: Keys) -> pd.Series | None:
    if not keys.sample_key or not keys.condition_key:
        return None
    return split_by_condition(obs[keys.sample_key], obs[keys.condition_key])
