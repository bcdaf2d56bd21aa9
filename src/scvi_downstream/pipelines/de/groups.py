"""Which groups of cells are compared with which."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import reference_condition
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.statistics.comparisons import Comparison, known_categories, one_vs_rest

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


def find_comparisons(
    counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions
) -> list[Comparison]:
    """Every comparison of the study, those with too few cells included.

    Parameters
    ----------
    counts
        Counts whose obs holds the study's keys.
    clusters
        Cells × clusterings, in the order of ``counts``.
    keys
        The obs columns that the study names.
    options
        One-vs-rest groupings, pairs, and whether conditions are compared.

    Raises
    ------
    InputError
        If a pair names a column or group that does not exist.
    """
    obs = counts.obs
    comparisons: list[Comparison] = []
    if "clusters" in options.groupings:
        comparisons += one_vs_rest("clusters", clusters["leiden"])
    if "labels" in options.groupings and keys.label_key:
        comparisons += one_vs_rest("labels", obs[keys.label_key])
    comparisons += [_pair(counts, clusters, *pair) for pair in options.pairs]
    if options.conditions and keys.condition_key:
        cell_types = obs[keys.label_key] if keys.label_key else clusters["leiden"]
        comparisons += _between_conditions(obs[keys.condition_key], cell_types)
    return comparisons


def log_left_out(left_out: list[Comparison], min_cells: int) -> None:
    """One line that names what is not compared, with the sizes of its groups."""
    if left_out:
        named = ", ".join(f"{each.grouping} {each.name} ({each.n1} and {each.n2} cells)" for each in left_out)
        logger.info(
            "left out of differential expression, a group having fewer than %d cells: %s", min_cells, named
        )


def _pair(counts: AnnData, clusters: pd.DataFrame, column: str, group1: str, group2: str) -> Comparison:
    tables = [table for table in (clusters, counts.obs) if column in table]
    if not tables:
        known = closest(column, [*clusters.columns, *counts.obs.columns])
        raise InputError(
            f"de.pairs names the column '{column}', which is neither a clustering nor in obs{known}"
        )
    groups = tables[0][column].astype(str).to_numpy()
    for group in (group1, group2):
        if group not in groups:
            raise InputError(
                f"de.pairs names the group '{group}' of '{column}'{closest(group, np.unique(groups))}"
            )
    if group1 == group2:
        raise InputError(f"de.pairs compares the group '{group1}' of '{column}' with itself; name two groups")
    name = f"{column}: {group1} vs {group2}"
    return Comparison("pairs", name, group1, group2, groups == group1, groups == group2)


def _between_conditions(conditions: pd.Series, cell_types: pd.Series) -> Iterator[Comparison]:
    names = known_categories(conditions)
    if len(names) < 2:
        logger.info(
            "condition column '%s' has the one value %s: no conditions to compare", conditions.name, names
        )
        return
    reference = reference_condition(names)
    values = conditions.astype(str).to_numpy()
    types = cell_types.astype(str).to_numpy()
    others = [name for name in names if name != reference]
    for other in others:
        pair = (other, reference)
        yield Comparison("condition", f"{other} vs {reference}", *pair, values == other, values == reference)
    for cell_type in known_categories(cell_types):
        inside = types == cell_type
        for other in others:
            pair = (other, reference)
            name = f"{cell_type}: {other} vs {reference}"
            masks = inside & (values == other), inside & (values == reference)
            yield Comparison("condition_by_type", name, *pair, *masks)
