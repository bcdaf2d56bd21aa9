"""Tables that h5ad and zarr can hold."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.categories import text_of


def storable(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with columns that AnnData can write.

    Strings that repeat, mixed objects, dates and intervals become categories of strings; nullable numbers
    plain ones; column names strings without ``/`` and other than ``_index``.

    Parameters
    ----------
    table
        obs or var; stays as it is.
    """
    names = [str(name).replace("/", "_") for name in table.columns]
    names = ["index_column" if name == "_index" else name for name in names]
    columns = [_storable_column(table.iloc[:, i]) for i in range(table.shape[1])]
    stored = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=table.index)
    stored.columns = pd.Index(names, dtype=object)
    # A named index clashes with a column of the same name in the file.
    stored.index = table.index.astype(str).rename(None)
    return stored


def _storable_column(values: pd.Series) -> pd.Series:
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
        dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _plain_categories(values)
    if pd.api.types.is_bool_dtype(dtype) and not values.isna().any():
        return values.astype(bool)
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) and dtype.kind in "iuf":
        if not pd.api.types.is_extension_array_dtype(dtype):
            return values
        return values.astype("float64" if values.isna().any() or dtype.kind == "f" else "int64")
    return _texts(values)


def _plain_categories(values: pd.Series) -> pd.Series:
    categories = values.cat.categories
    if categories.inferred_type in {"string", "integer", "floating", "boolean"} and len(categories):
        return values
    texts = [text_of(category) for category in categories]
    if len(set(texts)) == len(texts):
        return values.cat.rename_categories(texts)
    return _texts(values.astype(object))


def _texts(values: pd.Series) -> pd.Series:
    """Strings, as categories where they repeat or some are missing."""
    known = values.notna()
    texts = values.astype(object).where(known, None)
    texts = texts.map(text_of, na_action="ignore")
    if known.all() and texts.nunique() == len(texts):
        return texts.astype(str)
    return pd.Series(pd.Categorical(texts), index=values.index)
