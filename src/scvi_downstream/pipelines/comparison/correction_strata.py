"""Like cells, among which batches are exchangeable when there is no batch effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.communities import communities, weighted_graph
from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.parameters import UNKNOWN, Keys

_RESOLUTION = 1.0


@dataclass(frozen=True)
class Strata:
    """Groups of like cells.

    Attributes
    ----------
    codes
        ``(n_cells,)`` from 0.
    known
        ``(n_cells,)``; cells of unknown label or condition are a group of their own and not counted.
    kind
        Known biology, or clusters of the uncorrected embedding.
    words
        What a group is, for sentences.
    """

    codes: np.ndarray
    known: np.ndarray
    kind: Literal["biology", "clusters"]
    words: str


def of_biology(obs: pd.DataFrame, keys: Keys) -> Strata | None:
    """Groups by label and condition, as far as they are known and are not the batch; ``None`` without a label.

    Parameters
    ----------
    obs
        One row a cell.
    keys
        Names of the columns.
    """
    if not keys.label_key or keys.label_key == keys.batch_key:
        return None
    names = [keys.label_key]
    if keys.condition_key and keys.condition_key not in (keys.label_key, keys.batch_key):
        names.append(keys.condition_key)
    text = obs[names].astype(str)
    known = (text != UNKNOWN).all(axis=1).to_numpy()
    if not known.any():
        return None
    codes = text.where(text != UNKNOWN).groupby(names, dropna=False).ngroup().to_numpy()
    return Strata(codes=codes, known=known, kind="biology", words=" and ".join(names))


def of_clusters(neighbors: NeighborsGraph, seed: int) -> Strata:
    """Leiden communities of the uncorrected embedding.

    Where batches are far apart, communities are batches, and nothing can be exchanged within them: a test on
    these strata misses strong effects, and what it finds is real.

    Parameters
    ----------
    neighbors
        Of the uncorrected embedding.
    seed
        Of the communities.
    """
    codes = communities(weighted_graph(neighbors.connectivities), _RESOLUTION, seed)
    return Strata(codes=codes, known=np.ones(len(codes), dtype=bool), kind="clusters", words="Leiden cluster")


def together(n_cells: int) -> Strata:
    """All cells in one group."""
    return Strata(
        codes=np.zeros(n_cells, dtype=int),
        known=np.ones(n_cells, dtype=bool),
        kind="clusters",
        words="all cells",
    )
