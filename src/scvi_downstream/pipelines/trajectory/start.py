"""Where a trajectory starts: what the user names, as cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.errors import InputError, closest
from scvi_downstream.neighbors import NeighborsGraph

from .known_time import known_time
from .start_gene import cells_of_gene

if TYPE_CHECKING:
    from anndata import AnnData

How = Literal["cell", "cluster", "gene", "time"]
MIN_START_CELLS = 10
"""Of a marker gene or of known time: fewer would rest on single cells."""


@dataclass(frozen=True, eq=False)
class Start:
    """Cells at which trajectories start.

    Attributes
    ----------
    cells
        Their names, in the order of the counts.
    how
        What they were chosen by.
    sentences
        The choice in words, and what speaks against it.
    """

    cells: pd.Index
    how: How
    sentences: tuple[str, ...]


def choose_start(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.Series,
    *,
    start_cell: str | None = None,
    start_cluster: str | None = None,
    start_gene: str | None = None,
    time_key: str | None = None,
    label_key: str | None = None,
    top_share: float = 0.03,
    earliest_share: float = 0.03,
    seed: int = 0,
) -> Start:
    """Start cells by exactly one of a cell, a cluster or label, a marker gene, or known time.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes; ``obs`` holds the labels and the time.
    neighbors
        kNN graph of the same cells, over which a marker gene's expression is smoothed.
    clusters
        ``(n_cells,)`` clusters.
    start_cell
        Name of a cell.
    start_cluster
        A value of ``clusters`` or of the labels; where both have it, the cluster is meant.
    start_gene
        Name or symbol of a gene that is highest where the trajectory starts.
    time_key
        Numeric column of ``obs``; the earliest cells are the start.
    label_key
        Column of ``obs`` with labels.
    top_share, earliest_share
        Share of the cells that a marker gene or known time chooses, before the largest connected patch is taken.
    seed
        Of the permutations that tell a marker gene from noise.

    Raises
    ------
    InputError
        None or several are given, a name does not exist, the gene has no counts, or the time is not a number of at
        least three values.
    """
    given = {
        "start_cell": start_cell,
        "start_cluster": start_cluster,
        "start_gene": start_gene,
        "time_key": time_key,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        seen = " and ".join(f"trajectory.{name}='{given[name]}'" for name in named) or "none of them is given"
        raise InputError(
            "a trajectory needs exactly one start: trajectory.start_cell, trajectory.start_cluster, "
            f"trajectory.start_gene or trajectory.time_key; {seen}"
        )
    if start_cell is not None:
        return _start_at_cell(counts.obs_names, str(start_cell))
    if start_cluster is not None:
        labels = counts.obs[label_key] if label_key else None
        return _start_at_cluster(
            clusters.reindex(counts.obs_names), labels, str(start_cluster), counts.obs_names
        )
    if start_gene is not None:
        n_top = min(max(MIN_START_CELLS, round(top_share * counts.n_obs)), counts.n_obs)
        chosen, sentences = cells_of_gene(counts, neighbors, str(start_gene), n_top=n_top, seed=seed)
        return Start(pd.Index(counts.obs_names[chosen], name="cell"), "gene", sentences)
    return _start_at_time(counts.obs, str(time_key), earliest_share)


def _start_at_cell(cells: pd.Index, name: str) -> Start:
    if name not in cells:
        raise InputError(
            f"trajectory.start_cell '{name}' is not a cell of the counts{closest(name, _near(name, cells))}"
        )
    return Start(pd.Index([name], name="cell"), "cell", (f"trajectories start at the cell '{name}'",))


def _near(name: str, cells: pd.Index, most: int = 20_000) -> list[str]:
    """Names worth comparing: difflib takes seconds on a million of them."""
    if len(cells) <= most:
        return list(cells)
    alike = [cell for cell in cells if str(cell)[:4].lower() == name[:4].lower()]
    return (alike or list(cells))[:most]


def _start_at_cluster(clusters: pd.Series, labels: pd.Series | None, value: str, cells: pd.Index) -> Start:
    columns = {"clusters": clusters} | ({str(labels.name): labels} if labels is not None else {})
    holding = {
        name: (as_categories(column) == value)
        for name, column in columns.items()
        if value in as_categories(column).categories
    }
    if not holding:
        choices = [text for column in columns.values() for text in as_categories(column).categories]
        raise InputError(
            f"trajectory.start_cluster '{value}' is neither a cluster nor a label{closest(value, choices)}"
        )
    name, mask = next(iter(holding.items()))
    sentence = f"trajectories start in '{value}' of {name} ({int(mask.sum()):,} cells)"
    if len(holding) > 1:
        sentence += f"; '{value}' is also a value of {list(holding)[1]}, which is not meant"
    return Start(pd.Index(cells[mask], name="cell"), "cluster", (sentence,))


def _start_at_time(observations: pd.DataFrame, time_key: str, earliest_share: float) -> Start:
    time = known_time(observations, time_key)
    known = np.sort(time.dropna().to_numpy())
    n_earliest = min(max(MIN_START_CELLS, int(np.ceil(earliest_share * len(known)))), len(known))
    latest = known[n_earliest - 1]
    chosen = (time <= latest).to_numpy()
    sentences = [
        f"trajectories start at the {int(chosen.sum()):,} cells with the earliest '{time_key}' "
        f"({known[0]:g} to {latest:g}; the data reach {known[-1]:g})"
    ]
    if len(known) < len(time):
        sentences.append(
            f"'{time_key}' is missing in {len(time) - len(known):,} of {len(time):,} cells; none of them is a start"
        )
    return Start(pd.Index(observations.index[chosen], name="cell"), "time", tuple(sentences))


def describe_start(start: Start) -> dict[str, Any]:
    """The start as plain data: ``cells``, ``how``, ``sentences``."""
    return {"cells": start.cells.tolist(), "how": start.how, "sentences": list(start.sentences)}
