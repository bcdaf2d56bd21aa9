"""Gene symbols, wherever the file keeps them."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.errors import InputError, closest

SYMBOL_COLUMNS = (
    "symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "gene_short_name",
    "feature_name",
)  # fmt: skip
IDENTIFIER = r"(?:ENS[A-Z]*G\d{6,}(?:\.\d+)?|WBGene\d{8}|FBgn\d{7}|AT[1-5CM]G\d{5}|MGI:\d+|HGNC:\d+)"
"""Gene identifiers of Ensembl, WormBase, FlyBase, TAIR, MGI and HGNC."""


def with_symbols(var: pd.DataFrame, column: str | None) -> pd.DataFrame:
    """Genes with a column ``symbol`` where names and symbols differ; see ``find_symbols``."""
    symbols = find_symbols(var, column)
    return var if symbols is None else var.assign(symbol=symbols)


def gene_labels(var: pd.DataFrame) -> pd.Index:
    """How people call the genes: their symbols where known, else their names."""
    return pd.Index(var.get("symbol", var.index), dtype=str)


def find_symbols(var: pd.DataFrame, column: str | None) -> pd.Series | None:
    """Symbols of the genes, where names and symbols differ.

    Parameters
    ----------
    var
        Genes of the input, indexed by gene name.
    column
        Column that the user named; ``None``: the gene names, or, where most of those are identifiers of a
        gene database, a column whose name says that it holds symbols.

    Returns
    -------
    Strings indexed by gene name, the name itself where a symbol is missing; ``None`` where only names are
    known.
    """
    if column is None:
        column = _symbol_column(var)
    elif column not in var:
        raise InputError(
            f"preparation.gene_symbols '{column}' is not a column of var{closest(column, var.columns)}"
        )
    if column is None:
        return None
    names = pd.Series(var.index.astype(str), index=var.index, dtype=object)
    symbols = var[column].astype(object)
    known = symbols.notna() & (symbols.astype(str).str.strip() != "")
    return symbols.where(known, names).astype(str).astype(object).rename("symbol")


def _symbol_column(var: pd.DataFrame) -> str | None:
    if not len(var) or var.index.astype(str).str.fullmatch(IDENTIFIER, case=False).mean() <= 0.5:
        return None
    by_lower = {str(name).lower(): name for name in reversed(var.columns)}
    return next((by_lower[name] for name in SYMBOL_COLUMNS if name in by_lower), None)
