"""Two groups of cells whose expression is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.runtime.options import UNKNOWN

REST = "rest"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two groups of cells; effects are of the first relative to the second.

    Attributes
    ----------
    grouping
        ``clusters``, ``labels``, ``pairs``, ``condition`` or ``condition_by_type``.
    name
        Unique within the grouping, e.g. ``3 vs rest``.
    group1, group2
        Names of the two groups; ``rest`` is every other cell of the grouping.
    cells1, cells2
        Boolean masks over all ``n_cells`` cells, disjoint.
    within
        Of conditions, the mask of the cells among which they are compared; ``None`` of other groups.
    """

    grouping: str
    name: str
    group1: str
    group2: str
    cells1: np.ndarray
    cells2: np.ndarray
    within: np.ndarray | None = None

    @property
    def n1(self) -> int:
        """Number of cells in the first group."""
        return int(self.cells1.sum())

    @property
    def n2(self) -> int:
        """Number of cells in the second group."""
        return int(self.cells2.sum())


def keep_large(comparisons: list[Comparison], min_cells: int) -> tuple[list[Comparison], list[Comparison]]:
    """Split into comparisons with ``min_cells`` cells on both sides and those with fewer."""
    kept = [comparison for comparison in comparisons if min(comparison.n1, comparison.n2) >= min_cells]
    left_out = [comparison for comparison in comparisons if min(comparison.n1, comparison.n2) < min_cells]
    return kept, left_out


def known_categories(values: pd.Series) -> list[str]:
    """Names of the groups that have cells, without ``unknown``."""
    present = values.astype("category").cat.remove_unused_categories().cat.categories
    return [str(category) for category in present if str(category) != UNKNOWN]


def one_vs_rest(grouping: str, values: pd.Series) -> Iterator[Comparison]:
    """Every group against all other cells of known group.

    Parameters
    ----------
    grouping
        What the groups are.
    values
        Group of each of ``n_cells`` cells.
    """
    groups = values.astype(str).to_numpy()
    known = groups != UNKNOWN
    for group in known_categories(values):
        inside = groups == group
        yield Comparison(grouping, f"{group} vs {REST}", group, REST, inside, known & ~inside)
