"""Reading a linkage: cuts, sizes, and the part near the root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Crown:
    """The top of a tree, whose leaves are subtrees.

    Attributes
    ----------
    linkage
        ``(n_shown - 1, 4)``, as scipy has it.
    sizes
        ``(n_shown,)`` cells below each leaf.
    clusters
        ``(2 * n_shown - 1,)`` cluster of each node of the crown, leaves first; -1 above the cut.
    cut_height
        Between the last merge inside a cluster and the first between clusters; NaN for one cluster.
    """

    linkage: np.ndarray
    sizes: np.ndarray
    clusters: np.ndarray
    cut_height: float


def subtrees(linkage: pd.DataFrame, k: int) -> list[int]:
    """Nodes of the cut into ``k`` clusters, by falling size; the tree's own numbering breaks ties.

    Parameters
    ----------
    linkage
        Of :func:`linkage`; leaves are ``0 … n_leaves - 1``, the node of row `i` is ``n_leaves + i``.
    k
        At most the number of leaves.
    """
    sizes = node_sizes(linkage)
    n_leaves = len(linkage) + 1
    children = linkage[["left", "right"]].to_numpy(np.int64)
    nodes = {2 * n_leaves - 2}
    for row in range(n_leaves - 2, n_leaves - 1 - min(k, n_leaves), -1):
        nodes.remove(n_leaves + row)
        nodes.update(children[row].tolist())
    return sorted(nodes, key=lambda node: (-sizes[node], node))


def node_sizes(linkage: pd.DataFrame) -> np.ndarray:
    """Cells below every node: leaves first, then one a row."""
    sizes = np.empty(2 * len(linkage) + 1)
    sizes[linkage["left"].to_numpy(np.int64)] = linkage["left_size"]
    sizes[linkage["right"].to_numpy(np.int64)] = linkage["right_size"]
    sizes[-1] = linkage["size"].iloc[-1] if len(linkage) else 1
    return sizes


def node_membership(linkage: pd.DataFrame, k: int) -> np.ndarray:
    """``(2 * n_leaves - 1,)`` position of each node's cluster in :func:`subtrees`; -1 above the cut."""
    n_leaves = len(linkage) + 1
    children = linkage[["left", "right"]].to_numpy(np.int64)
    membership = np.full(2 * n_leaves - 1, -1)
    membership[subtrees(linkage, k)] = np.arange(min(k, n_leaves))
    for row in range(n_leaves - 1 - min(k, n_leaves), -1, -1):
        membership[children[row]] = membership[n_leaves + row]
    return membership


def crown(linkage: pd.DataFrame, k: int, n_shown: int) -> Crown:
    """The tree above its ``n_shown`` largest-height subtrees, each inside one of ``k`` clusters.

    Parameters
    ----------
    linkage
        Of the Ward tree.
    k
        Number of clusters.
    n_shown
        Leaves wanted; raised to ``k``, cut to what there is.
    """
    n_leaves = len(linkage) + 1
    n_shown = min(max(n_shown, k), n_leaves)
    leaves = sorted(subtrees(linkage, n_shown))
    first_row = n_leaves - n_shown
    inner = [n_leaves + row for row in range(first_row, n_leaves - 1)]
    position = {node: i for i, node in enumerate([*leaves, *inner])}
    top = np.empty((n_shown - 1, 4))
    counted = np.ones(2 * n_shown - 1)
    for i, row in enumerate(linkage.iloc[first_row:].itertuples()):
        left, right = position[row.left], position[row.right]
        counted[n_shown + i] = counted[left] + counted[right]
        top[i] = left, right, row.height, counted[n_shown + i]
    heights = linkage["height"].to_numpy()
    below = heights[n_leaves - k - 1] if k < n_leaves else 0.0
    return Crown(
        linkage=top,
        sizes=node_sizes(linkage)[leaves].astype(int),
        clusters=node_membership(linkage, k)[[*leaves, *inner]],
        cut_height=float((below + heights[n_leaves - k]) / 2) if k > 1 else float("nan"),
    )
