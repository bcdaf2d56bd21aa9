"""The user's table of known marker genes: checked, found in the counts, and compared with markers of clusters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.obs import text_of
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import first_names
from scvi_downstream.statistics.testing import benjamini_hochberg

logger = logging.getLogger(__name__)

COLUMNS = ("type", "gene", "sign")
SIGNS = {
    **dict.fromkeys(("+", "1", "+1", "positive", "pos", "up", ""), 1),
    **dict.fromkeys(("-", "−", "–", "-1", "negative", "neg", "down"), -1),
}
OVERLAP_COLUMNS = (
    "cluster", "type", "n_markers", "n_listed", "n_common", "expected", "p", "p_adjusted", "genes",
)  # fmt: skip


@dataclass(frozen=True)
class KnownMarkers:
    """Markers of each type that the counts hold.

    ``genes`` has one row a type and gene: ``type``, ``gene`` (as the table names it), ``name`` (in the counts),
    ``position`` in var, and ``sign`` (1 or -1). ``n_listed`` counts the rows of the table, ``missing`` are its genes
    that are not in the counts, ``left_out`` the numbers of genes of types with too few in the counts.
    """

    genes: pd.DataFrame
    n_listed: int
    missing: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def types(self) -> list[str]:
        """Types that are scored, in the order of the table."""
        return list(dict.fromkeys(self.genes["type"]))

    def log(self) -> None:
        """Warn of genes that are not in the counts and of types that are left out."""
        if self.missing:
            message = "marker_table: %d of its genes are not in the counts: %s"
            logger.warning(message, len(self.missing), first_names(self.missing))
        for name, n_genes in self.left_out.items():
            message = "marker_table: type '%s' is left out, the counts hold %d of its genes"
            logger.warning(message, name, n_genes)


def find_markers(table: pd.DataFrame | None, counts: AnnData, min_genes: int) -> KnownMarkers:
    """Check the table and find its genes by the names of the counts' genes or by their symbols.

    Parameters
    ----------
    table
        Columns ``type``, ``gene`` and, when there are genes that a type must lack, ``sign``, in upper or lower case.
    counts
        Raw counts; of several genes of one symbol the most abundant is taken.
    min_genes
        Genes that a type must have in the counts.

    Raises
    ------
    InputError
        A column is missing, a field is empty, a sign is none, a gene is listed twice for a type or with both
        signs, no gene is in the counts, or every type has too few.
    """
    listed = _check_table(table)
    positions = _find_positions(listed["gene"], counts)
    found = listed.assign(position=positions, name=counts.var_names.to_numpy()[positions])
    found = found[positions >= 0]
    missing = tuple(dict.fromkeys(listed["gene"][positions < 0]))
    if found.empty:
        raise InputError(_no_gene_message(listed["gene"], counts))
    _refuse_repeats(found, "name")
    n_genes = found.groupby("type", sort=False).size().reindex(listed["type"].unique(), fill_value=0)
    left_out = {str(name): int(n) for name, n in n_genes[n_genes < min_genes].items()}
    kept = found[~found["type"].isin(left_out)].reset_index(drop=True)
    if kept.empty:
        best = n_genes.idxmax()
        raise InputError(
            f"marker_table: no type has {min_genes} genes in the counts, the most has '{best}' "
            f"({n_genes[best]}); list more genes, or lower annotation.markers.min_genes"
        )
    return KnownMarkers(kept, len(listed), missing, left_out)


def _check_table(table: pd.DataFrame | None) -> pd.DataFrame:
    if table is None:
        raise InputError("marker_table is not set; give a CSV with the columns type, gene and sign")
    named = table.reset_index() if table.index.name is not None else table
    by_lower = {str(column).strip().lower(): column for column in reversed(list(named.columns))}
    seen = ", ".join(f"'{column}'" for column in named.columns) or "none"
    for column in ("type", "gene"):
        if column not in by_lower:
            raise InputError(f"marker_table has no column '{column}'; it has {seen}, and needs type and gene")
    listed = pd.DataFrame({name: named[by_lower[name]] for name in COLUMNS if name in by_lower})
    for column in ("type", "gene"):
        texts = listed[column].map(_field_text)
        if (texts == "").any():
            row = int(np.argmax((texts == "").to_numpy())) + 2
            raise InputError(f"marker_table: the column '{column}' is empty in line {row}")
        listed[column] = texts
    if listed.empty:
        raise InputError("marker_table holds no line but its header; list markers of each type")
    if (listed["type"].str.lower() == UNKNOWN).any():
        raise InputError(
            f"marker_table: '{UNKNOWN}' cannot be a type, it is the name of clusters without one"
        )
    listed["sign"] = _parse_signs(listed["sign"]) if "sign" in listed else 1
    _refuse_repeats(listed, "gene")
    return listed


def _field_text(value: Any) -> str:
    return "" if pd.isna(value) else text_of(value)


def _parse_signs(column: pd.Series) -> pd.Series:
    texts = column.map(_field_text).str.lower()
    unknown = ~texts.isin(SIGNS)
    if unknown.any():
        row = int(np.argmax(unknown.to_numpy()))
        raise InputError(
            f"marker_table: the sign '{column.iloc[row]}' in line {row + 2} is none of +, -, 1, -1, positive, "
            "negative, up, down"
        )
    return texts.map(SIGNS).astype(int)


def _refuse_repeats(listed: pd.DataFrame, gene: str) -> None:
    repeated = listed[listed.duplicated(["type", gene], keep=False)]
    if repeated.empty:
        return
    first = repeated.iloc[0]
    same = repeated[(repeated["type"] == first["type"]) & (repeated[gene] == first[gene])]
    names = " and ".join(dict.fromkeys(f"'{name}'" for name in same["gene"]))
    how = "with both signs" if len(set(same["sign"])) > 1 else f"{len(same)} times"
    one = f" (one gene of the counts, '{first[gene]}')" if len(set(same["gene"])) > 1 else ""
    raise InputError(f"marker_table lists {names} {how} for the type '{first['type']}'{one}; keep one line")


def _find_positions(genes: pd.Series, counts: AnnData) -> np.ndarray:
    """Position in var by name, else by symbol; -1: not there."""
    positions = counts.var_names.get_indexer(genes)
    if "symbol" in counts.var and (positions < 0).any():
        totals = np.asarray(counts.X.sum(axis=0)).ravel()
        order = np.argsort(-totals, kind="stable")
        symbols = pd.Index(counts.var["symbol"].astype(str).to_numpy()[order])
        first = ~symbols.duplicated()
        by_symbol = symbols[first].get_indexer(genes)
        known = np.append(order[first], -1)[by_symbol]
        positions = np.where(positions < 0, known, positions)
    return positions


def _no_gene_message(genes: pd.Series, counts: AnnData) -> str:
    names = counts.var_names.astype(str)
    in_other_case = set(genes.str.lower()) & set(names.str.lower())
    hint = (
        f"; {len(in_other_case)} are when upper and lower case do not count, as for another species"
        if in_other_case
        else closest(genes.iloc[0], names)
    )
    return (
        f"none of the {genes.nunique()} genes of marker_table, such as '{genes.iloc[0]}', is in the counts, "
        f"whose genes are named like '{names[0]}'{hint}; name the genes as the counts do, or keep symbols in "
        "a var column (preparation.gene_symbols)"
    )


def match_markers(
    markers: pd.DataFrame, marker_table: pd.DataFrame, counts: AnnData, annotation: AnnotationOptions
) -> pd.DataFrame:
    """Genes that a cluster's markers and a type's positive markers share, and the chance of as many.

    Parameters
    ----------
    markers
        Found by differential expression: ``grouping``, ``group``, ``gene``; only the clusters' are compared.
    marker_table, annotation
        The user's table, and the genes that a type must have in the counts.
    counts
        ``var["highly_variable"]`` says which genes could be markers at all.

    Returns
    -------
    One row a cluster and type, by cluster and falling evidence: sizes of both sets among those genes,
    ``n_common`` and ``expected`` by chance, hypergeometric ``p``, Benjamini-Hochberg over all rows, and the
    common genes, the cluster's best first.
    """
    from scipy.stats import hypergeom

    known = find_markers(marker_table, counts, annotation.markers.min_genes)
    of_clusters = markers[markers["grouping"] == "clusters"] if len(markers) else markers
    if of_clusters.empty:
        return pd.DataFrame(columns=list(OVERLAP_COLUMNS))
    tested = set(counts.var_names[counts.var["highly_variable"].to_numpy(bool)]) | set(of_clusters["gene"])
    positive = known.genes[(known.genes["sign"] > 0) & known.genes["name"].isin(tested)]
    rows = []
    for order, (cluster, table) in enumerate(of_clusters.groupby("group", sort=False)):
        found = list(dict.fromkeys(table["gene"]))
        for name in known.types:
            listed = positive.loc[positive["type"] == name].set_index("name")["gene"]
            common = [gene for gene in found if gene in listed.index]
            p = hypergeom.sf(len(common) - 1, len(tested), len(listed), len(found)) if len(listed) else np.nan
            rows.append(
                {
                    "order": order,
                    "cluster": str(cluster),
                    "type": name,
                    "n_markers": len(found),
                    "n_listed": len(listed),
                    "n_common": len(common),
                    "expected": len(found) * len(listed) / len(tested),
                    "p": float(p),
                    "genes": ", ".join(str(listed[gene]) for gene in common),
                }
            )
    joined = pd.DataFrame(rows)
    joined["p_adjusted"] = benjamini_hochberg(joined["p"].to_numpy())
    return joined.sort_values(["order", "p"], ignore_index=True)[list(OVERLAP_COLUMNS)]
