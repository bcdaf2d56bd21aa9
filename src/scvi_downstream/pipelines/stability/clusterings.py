"""How far the clusters of two fits agree, and which of them come back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from .fits import SeedFit
from .rows import Row


def clustering_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """ARI and NMI of every pair of fits, and of Leiden's own repetitions on one graph.

    Leiden's repetitions use the same seeds in every fit, so that two equal graphs agree at 1. Between fits the
    repetitions of one seed are compared, and averaged.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Vinh, Epps & Bailey (2010), JMLR 11:2837.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    codes = {fit.name: _codes(fit.clusters.loc[fits[0].clusters.index]) for fit in fits}
    for measure, score in (("leiden_ari", adjusted_rand_score), ("leiden_nmi", normalized_mutual_info_score)):
        for a, b in combinations(codes, 2):
            agreements = [score(one, other) for one, other in zip(codes[a], codes[b], strict=True)]
            yield Row(measure, a, b, "", float(np.mean(agreements)))
        for name, repetitions in codes.items():
            agreements = [score(one, other) for one, other in combinations(repetitions, 2)]
            yield Row(measure, name, name, "", float(np.mean(agreements)))


def recurrence_rows(fits: list[SeedFit]) -> Iterator[Row]:
    """How far each cluster of the first fit comes back in each other fit, and in its own repetitions.

    References
    ----------
    Hennig (2007), doi:10.1016/j.csda.2006.11.025: below 0.6 a cluster is not to be trusted, from 0.75 on it is a
    valid pattern.
    """
    first = fits[0]
    reference, *repetitions = (first.clusters[column] for column in first.clusters)
    for fit in fits[1:]:
        other = fit.clusters.iloc[:, 0].loc[reference.index]
        for cluster, share in recurrence(reference, other).items():
            yield Row("cluster_jaccard", first.name, fit.name, str(cluster), share)
    own = pd.concat([recurrence(reference, repeated) for repeated in repetitions], axis=1).mean(axis=1)
    for cluster, share in own.items():
        yield Row("cluster_jaccard", first.name, first.name, str(cluster), float(share))


def recurrence(reference: pd.Series, other: pd.Series) -> pd.Series:
    """Jaccard index of each cluster with the most similar cluster of another clustering of the same cells.

    Parameters
    ----------
    reference, other
        Cluster of each of ``n_cells`` cells, in the same order.

    Returns
    -------
    Cluster of ``reference`` → value in (0, 1].
    """
    shared = pd.crosstab(reference.to_numpy(), other.to_numpy())
    table = shared.to_numpy(dtype=np.float64)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return pd.Series((table / union).max(axis=1), index=shared.index.astype(str))


def _codes(clusters: pd.DataFrame) -> list[np.ndarray]:
    return [pd.factorize(clusters[column])[0] for column in clusters]
