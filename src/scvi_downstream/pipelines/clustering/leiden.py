"""Whether halves of the cells agree on Leiden communities."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.communities import communities, weighted_graph
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import Progress

if TYPE_CHECKING:
    from anndata import AnnData


STABILITY_COLUMNS = ("resolution", "replicate", "n_clusters", "ari")


def column_of(resolution: float) -> str:
    """Column of a resolution: ``leiden_0.5``, ``leiden_1``."""
    return f"leiden_{resolution:g}"


def stability(
    connectivities: sparse.csr_matrix,
    leiden: pd.DataFrame,
    resolutions: tuple[float, ...],
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Whether two halves of the cells, clustered without each other, are split alike.

    Subsets that overlap share their noise and call splits of noise stable; disjoint halves do not.

    Parameters
    ----------
    connectivities
        ``(n_cells, n_cells)`` shared graph; a half sees its induced part.
    leiden
        Clusters of all cells, one column a resolution.
    resolutions
        Of the columns.
    replicates
        Random divisions into halves.
    seed
        Of the divisions and of Leiden.

    Returns
    -------
    Two rows a resolution and division: the clusters of one half, and their adjusted Rand index with the
    clusters of the other half, carried over by the edges between the halves. It is 0 where all cells
    have several clusters and a half has one.

    References
    ----------
    Lange et al. (2004), doi:10.1162/089976604773717621; Tibshirani & Walther (2005),
    doi:10.1198/106186005X59243.
    """
    n_cells = connectivities.shape[0]
    generator = np.random.default_rng(seed)
    progress = Progress("Testing the stability of Leiden clusters", replicates * len(resolutions))
    rows = []
    for division in range(replicates):
        order = generator.permutation(n_cells)
        halves = np.sort(order[: n_cells // 2]), np.sort(order[n_cells // 2 :])
        graphs = [weighted_graph(connectivities[half][:, half]) for half in halves]
        between = connectivities[halves[0]][:, halves[1]]
        for resolution in resolutions:
            first, second = (communities(graph, resolution, seed + division + 1) for graph in graphs)
            is_split = len(leiden[column_of(resolution)].cat.categories) > 1
            for side, (own, other, edges) in enumerate(
                ((first, second, between), (second, first, between.T))
            ):
                ari = _transfer_agreement(own, other, edges, is_split=is_split)
                rows.append((resolution, 2 * division + side, len(np.unique(own)), ari))
            progress.advance()
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


def _transfer_agreement(
    own: np.ndarray, other: np.ndarray, edges: sparse.csr_matrix, *, is_split: bool
) -> float:
    from sklearn.metrics import adjusted_rand_score

    if is_split and min(own.max(), other.max()) == 0:
        return 0.0
    votes = edges @ np.eye(other.max() + 1)[other]
    reached = votes.sum(axis=1) > 0
    return float(adjusted_rand_score(own[reached], votes[reached].argmax(axis=1)))


AGREEMENT_COLUMNS = ("clustering_a", "clustering_b", "ari", "nmi", "n_cells")


def agreement(clusters: pd.DataFrame, counts: AnnData, keys: Keys) -> pd.DataFrame:
    """Adjusted Rand index and normalised mutual information of every pair.

    Parameters
    ----------
    clusters
        `n_cells` rows, one categorical column a clustering.
    counts
        obs of the same cells.
    keys
        Name the labels and the batch.

    Returns
    -------
    ``clustering_a`` is a column of ``clusters``; ``clustering_b`` another, or ``label`` (cells of unknown
    label left out), or ``batch``, with which a good integration hardly agrees.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Vinh, Epps & Bailey (2010), JMLR 11:2837.
    """
    obs = counts.obs.loc[clusters.index]
    known = {"label": keys.label_key, "batch": keys.batch_key}
    references = {name: obs[key].astype(str) for name, key in known.items() if key}
    if "label" in references:
        references["label"] = references["label"][references["label"] != UNKNOWN]
    rows = [_compare(a, b, clusters[a], clusters[b]) for a, b in combinations(clusters.columns, 2)]
    for name, values in references.items():
        if len(values.unique()) > 1:
            rows += [_compare(a, name, clusters.loc[values.index, a], values) for a in clusters.columns]
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def _compare(name_a: str, name_b: str, a: pd.Series, b: pd.Series) -> tuple[str, str, float, float, int]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    one, other = a.astype(str).to_numpy(), b.astype(str).to_numpy()
    ari, nmi = adjusted_rand_score(one, other), normalized_mutual_info_score(one, other)
    return name_a, name_b, float(ari), float(nmi), len(one)
