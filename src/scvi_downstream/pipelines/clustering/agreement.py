"""How far clusterings agree with each other, with known labels and with the batch."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream.parameters import UNKNOWN, Keys

if TYPE_CHECKING:
    from anndata import AnnData

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
