"""Markers found by differential expression against the listed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

from .marker_table import KnownMarkers

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = ("cluster", "type", "n_markers", "n_listed", "n_common", "expected", "p", "p_adjusted", "genes")


def overlap(markers: pd.DataFrame, known: KnownMarkers, counts: AnnData) -> pd.DataFrame:
    """Genes that a cluster's markers and a type's positive markers share, and the chance of as many.

    Parameters
    ----------
    markers
        ``grouping``, ``group``, ``gene``; only the clusters' are compared.
    known
        Listed markers.
    counts
        ``var["highly_variable"]`` says which genes could be markers at all.

    Returns
    -------
    One row a cluster and type, by cluster and falling evidence: sizes of both sets among those genes,
    ``n_common`` and ``expected`` by chance, hypergeometric ``p``, Benjamini-Hochberg over all rows, and the
    common genes, the cluster's best first.
    """
    from scipy.stats import hypergeom

    of_clusters = markers[markers["grouping"] == "clusters"] if len(markers) else markers
    if of_clusters.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    tested = set(counts.var_names[counts.var["highly_variable"].to_numpy(bool)]) | set(of_clusters["gene"])
    positive = known.genes[(known.genes["sign"] > 0) & known.genes["name"].isin(tested)]
    rows = []
    for cluster, table in of_clusters.groupby("group", sort=False):
        found = list(dict.fromkeys(table["gene"]))
        for name in known.types:
            listed = positive.loc[positive["type"] == name].set_index("name")["gene"]
            common = [gene for gene in found if gene in listed.index]
            rows.append(
                {
                    "cluster": str(cluster),
                    "type": name,
                    "n_markers": len(found),
                    "n_listed": len(listed),
                    "n_common": len(common),
                    "expected": len(found) * len(listed) / len(tested),
                    "p": float(hypergeom.sf(len(common) - 1, len(tested), len(listed), len(found)))
                    if len(listed)
                    else np.nan,
                    "genes": ", ".join(str(listed[gene]) for gene in common),
                }
            )
    joined = pd.DataFrame(rows)
    joined["p_adjusted"] = benjamini_hochberg(joined["p"].to_numpy())
    order = {str(cluster): i for i, cluster in enumerate(dict.fromkeys(of_clusters["group"]))}
    joined = joined.assign(order=joined["cluster"].map(order)).sort_values(["order", "p"], kind="stable")
    return joined[list(COLUMNS)].reset_index(drop=True)
