"""Labels by the frequencies in each cell's cluster."""

from __future__ import annotations

import numpy as np
import pandas as pd

PRIOR_CELLS = 1.0


def label_frequencies(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Frequency of each label in each cell's cluster, the cell itself left out.

    The frequencies over all clusters are added with the weight of one cell, so that a cluster without labels
    has these.

    Parameters
    ----------
    clusters
        Cluster of each of `n_cells` cells.
    labels
        Categories of the same cells; missing where no label is seen.

    Returns
    -------
    `n_cells` × types, rows sum to 1.
    """
    cluster_codes, _ = pd.factorize(clusters)
    label_codes = labels.cat.codes.to_numpy()
    labelled = label_codes >= 0
    types = labels.cat.categories
    counts = np.zeros((cluster_codes.max() + 1, len(types)))
    np.add.at(counts, (cluster_codes[labelled], label_codes[labelled]), 1)
    overall = counts.sum(axis=0) / counts.sum()
    own = np.zeros((len(labels), len(types)))
    own[np.flatnonzero(labelled), label_codes[labelled]] = 1
    seen = counts[cluster_codes] - own + PRIOR_CELLS * overall
    return pd.DataFrame(seen / seen.sum(axis=1, keepdims=True), index=labels.index, columns=types)
