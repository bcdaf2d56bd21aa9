"""How far clusters agree with the labels that the cells came with."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.parameters import UNKNOWN

AGREEMENT_COLUMNS = (
    "clustering", "n_clusters", "ari", "nmi", "homogeneity", "completeness", "v_measure", "n_cells",
)  # fmt: skip
CONTINGENCY_COLUMNS = ("clustering", "cluster", "label", "n", "share_of_cluster", "share_of_label")


def labelled_cells(labels: pd.Series) -> pd.Series:
    """Labels as text, of the cells that have one."""
    texts = labels[labels.notna()].astype(str)
    return texts[texts != UNKNOWN]


def score_clusterings(clusters: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Agreement of every clustering with the labels, over the labelled cells.

    Parameters
    ----------
    clusters
        `n_cells` rows, one categorical column a clustering.
    labels
        Of the same cells; ``unknown`` where there is none.

    Returns
    -------
    ``clustering, n_clusters, ari, nmi, homogeneity, completeness, v_measure, n_cells``; no row when there are
    fewer than two labels.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Rosenberg & Hirschberg (2007), ACL D07-1043.
    """
    from sklearn.metrics import (
        adjusted_rand_score,
        homogeneity_completeness_v_measure,
        normalized_mutual_info_score,
    )

    known = labelled_cells(labels)
    if known.nunique() < 2:
        return pd.DataFrame(columns=list(AGREEMENT_COLUMNS))
    rows = []
    for name in clusters.columns:
        found = clusters.loc[known.index, name].astype(str)
        ari = adjusted_rand_score(known, found)
        nmi = normalized_mutual_info_score(known, found)
        rows.append(
            (name, found.nunique(), ari, nmi, *homogeneity_completeness_v_measure(known, found), len(known))
        )
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def contingency(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Labelled cells of every cluster and label, zeros left out, and their shares of either.

    Parameters
    ----------
    clusters
        Cluster of each cell; its name is that of the clustering.
    labels
        Of the same cells; ``unknown`` where there is none.
    """
    known = labelled_cells(labels)
    found = clusters.loc[known.index]
    if known.empty:
        return pd.DataFrame(columns=list(CONTINGENCY_COLUMNS))
    order = {str(name): place for place, name in enumerate(found.astype("category").cat.categories)}
    counted = (
        pd.DataFrame({"cluster": found.astype(str), "label": known}).value_counts(sort=False).rename("n")
    )
    table = counted.reset_index().sort_values(
        ["cluster", "label"], key=lambda column: column.map(order) if column.name == "cluster" else column
    )
    table["clustering"] = clusters.name
    table["share_of_cluster"] = table["n"] / table.groupby("cluster")["n"].transform("sum")
    table["share_of_label"] = table["n"] / table.groupby("label")["n"].transform("sum")
    return table[list(CONTINGENCY_COLUMNS)].reset_index(drop=True)
