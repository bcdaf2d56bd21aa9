"""Everything known of each cell that a latent dimension could follow, typed."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.parameters import UNKNOWN, Keys
from scvi_downstream.samples import crossed_name

from .cell_cycle import COLUMNS as CELL_CYCLE

logger = logging.getLogger(__name__)
MAX_CATEGORIES = 50
NO_VALUE = frozenset({UNKNOWN, "na", "nan"})
N_NAMED = 5


def covariates_of(
    obs: pd.DataFrame, quality: pd.DataFrame, cell_cycle: pd.DataFrame, keys: Keys
) -> pd.DataFrame:
    """The study's keys, quality, cell cycle and every other column of obs that varies and makes groups.

    Parameters
    ----------
    obs
        Of the prepared counts, one row a cell.
    quality
        ``n_counts``, ``n_genes``, ``mitochondrial_percent`` of the same cells.
    cell_cycle
        Scores and phase, or no columns.
    keys
        Their columns are kept whatever their number of categories.

    Returns
    -------
    One row a cell. Numbers (more than two values) as float64, with ``log10_n_counts`` for the counts; groups
    (strings, booleans, numbers with two values; 2 to 50 of them and fewer than cells) as categories; what is
    missing or ``unknown`` is missing. Constant columns are left out, and so are those that say the same as an
    earlier one: equal groups under other names, numbers in the same order.
    """
    chosen = [*keys.categorical.values(), *keys.continuous_covariates]
    measured = {
        "log10_n_counts": np.log10(quality["n_counts"]),
        "n_genes": quality["n_genes"],
        "mitochondrial_percent": quality["mitochondrial_percent"],
    }
    sources = {name: obs[name] for name in chosen} | measured | dict(cell_cycle.items())
    crossed = crossed_name(keys) if keys.sample_key and keys.condition_key else None  # two keys said again
    names = [name for name in CELL_CYCLE if name in obs] + [name for name in obs.columns if name != crossed]
    sources = sources | {name: obs[name] for name in names if name not in sources}
    columns: dict[str, pd.Series] = {}
    said: dict[bytes, str] = {}
    for name, values in sources.items():
        column = _usable(values, always=name in chosen)
        if column is None:
            continue
        if (first := said.setdefault(_says(column), name)) != name and name not in chosen:
            logger.info("covariates: '%s' says the same as '%s' and is left out", name, first)
            continue
        columns[str(name)] = column
    return pd.DataFrame(columns, index=obs.index)


def _usable(values: pd.Series, *, always: bool) -> pd.Series | None:
    """Typed values, or ``None`` where they are of no use."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
        numbers = numbers.where(np.isfinite(numbers))
        n_values = numbers.nunique()
        if n_values > 2:
            return numbers
        values = numbers
    groups = pd.Series(as_categories(values), index=values.index)
    kept = [name for name in groups.cat.categories if str(name).lower() not in NO_VALUE]
    groups = groups.cat.set_categories(kept)
    few = len(kept) <= MAX_CATEGORIES and len(kept) < groups.notna().sum()
    return groups if len(kept) >= 2 and (few or always) else None


def _says(column: pd.Series) -> bytes:
    """Equal for columns that part, or order, the cells in the same way."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return b"groups" + np.asarray(pd.factorize(column)[0], dtype=np.int32).tobytes()
    return b"numbers" + np.asarray(pd.factorize(column, sort=True)[0], dtype=np.int32).tobytes()
