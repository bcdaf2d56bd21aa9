"""The labels and clusters of the study: which labels methods are given, and which are held out to score them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData

logger = logging.getLogger(__name__)
GIVEN, HELD_OUT, LEFT_OUT = "given", "held_out", "left_out"
ROLES = (GIVEN, HELD_OUT, UNKNOWN, LEFT_OUT)
LEAST_GIVEN = 2  # One labelled cell would have no other one to be compared with.


def hold_out_labels(counts: AnnData, keys: Keys, annotation: AnnotationOptions, seed: int) -> pd.DataFrame:
    """``label`` and ``role`` of each cell in the transfer of the study's labels, as :func:`split_labels` gives them.

    Raises
    ------
    InputError
        No ``label_key``, or one that is not in obs.
    """
    return split_labels(study_labels(counts, keys), annotation, seed)


def study_labels(counts: AnnData, keys: Keys) -> pd.Series:
    """The labels that the cells came with.

    Raises
    ------
    InputError
        No ``label_key``, or one that is not in obs.
    """
    if keys.label_key is None:
        raise InputError(
            "label_key is empty, so no label can be transferred; set label_key to the obs column of cell types"
            f"{closest('cell_type', counts.obs.columns)}"
        )
    if keys.label_key not in counts.obs:
        raise InputError(
            f"label_key '{keys.label_key}' is not in obs of the counts"
            f"{closest(keys.label_key, counts.obs.columns)}; run the preparation again"
        )
    return counts.obs[keys.label_key]


def chosen_clustering(clusters: pd.DataFrame, annotation: AnnotationOptions) -> pd.Series:
    """The column of ``clusters`` that ``annotation.clustering`` names.

    Raises
    ------
    InputError
        There is no such clustering.
    """
    name = annotation.clustering
    if name not in clusters:
        raise InputError(
            f"annotation.clustering '{name}' is not among the clusterings{closest(name, clusters.columns)}"
        )
    return clusters[name]


def split_labels(labels: pd.Series, options: AnnotationOptions, seed: int) -> pd.DataFrame:
    """Divide the labelled cells of each type into given and held-out ones.

    Every type keeps at least two given cells, and holds out at least one when it has three. ``labels`` are categories
    of `n_cells` cells, ``unknown`` or missing where there is no label.

    Returns
    -------
    Indexed by cell: ``label``, and ``role``: ``given`` to the methods, ``held_out`` from them, ``unknown``,
    or ``left_out``: of a type with fewer than ``min_cells_per_type`` labelled cells, which is not transferred.
    """
    known = labels.astype(str).where(labels.notna(), UNKNOWN).to_numpy(dtype=object)
    roles = np.full(len(known), UNKNOWN, dtype=object)
    sizes = pd.Series(known[known != UNKNOWN]).value_counts(sort=False).sort_index()
    rng = np.random.default_rng(seed)
    for name, n_cells in sizes.items():
        cells = rng.permutation(np.flatnonzero(known == name))
        if n_cells < options.min_cells_per_type:
            roles[cells] = LEFT_OUT
            continue
        n_held_out = min(max(round(options.held_out_share * n_cells), 1), n_cells - LEAST_GIVEN)
        roles[cells[:n_held_out]] = HELD_OUT
        roles[cells[n_held_out:]] = GIVEN
    fewest = options.min_cells_per_type
    few = [f"{name} ({n_cells})" for name, n_cells in sizes.items() if n_cells < fewest]
    if few:
        message = "%s: %d types with fewer than %d labelled cells are not transferred: %s"
        logger.warning(message, labels.name, len(few), fewest, ", ".join(few[:10]))
    categories = [*sizes.index, *([UNKNOWN] if (known == UNKNOWN).any() else [])]
    columns = {"label": pd.Categorical(known, categories), "role": pd.Categorical(roles, ROLES)}
    return pd.DataFrame(columns, index=labels.index.rename("cell"))


def labels_seen(label_split: pd.DataFrame, *, held_out_too: bool) -> pd.Series:
    """The labels that a method may see, missing elsewhere; categories are the types among them.

    With ``held_out_too``, those held out are seen as well: for the prediction of unknown cells alone.
    """
    roles = [GIVEN, HELD_OUT] if held_out_too else [GIVEN]
    seen = label_split["label"].where(label_split["role"].isin(roles))
    return seen.cat.remove_unused_categories()


def transferred_types(label_split: pd.DataFrame) -> list[str]:
    """Names of the types that are transferred."""
    return list(labels_seen(label_split, held_out_too=False).cat.categories)


def why_not_transferable(label_split: pd.DataFrame) -> str | None:
    """Reason why no label can be transferred, if there is one."""
    types = transferred_types(label_split)
    if len(types) > 1:
        return None
    n_labelled = int((label_split["role"] != UNKNOWN).sum())
    found = f"only '{types[0]}' has" if types else "none has"
    return (
        f"of the types of the {n_labelled:,} labelled cells {found} enough cells, and at least 2 types must"
    )


def predict_in_rounds[T](label_split: pd.DataFrame, predict: Callable[[pd.Series, str], T]) -> tuple[T, T]:
    """What a method makes of the given labels, and of all labels for the cells that have none.

    ``predict`` takes the labels that it may see, missing elsewhere, and the name of the round: ``given`` or
    ``all``. Results of both rounds; the first one twice where no cell is unknown, or no label is held out.
    """
    first = predict(labels_seen(label_split, held_out_too=False), "given")
    if not {UNKNOWN, HELD_OUT} <= set(label_split["role"].astype(str)):
        return first, first
    return first, predict(labels_seen(label_split, held_out_too=True), "all")


def join_rounds(label_split: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Predictions of unknown cells from the round that has seen all labels, of all others from the first one.

    ``first`` and ``second`` are `n_cells` × types of both rounds, in the order of the cells of ``label_split``.
    """
    unknown = (label_split["role"] == UNKNOWN).to_numpy()[:, None]
    types = transferred_types(label_split)
    values = np.where(unknown, second[types].to_numpy(), first[types].to_numpy())
    return pd.DataFrame(values, index=label_split.index, columns=pd.Index(types, dtype=str))


def require_same_cells(table: pd.DataFrame, label_split: pd.DataFrame, name: str) -> pd.DataFrame:
    """``table`` in the order of the cells of ``label_split``.

    Raises
    ------
    InputError
        They are not the same cells.
    """
    if table.index.equals(label_split.index):
        return table
    missing = label_split.index.difference(table.index)
    if len(missing) or len(table) != len(label_split):
        example = f", such as '{missing[0]}'" if len(missing) else ""
        raise InputError(
            f"{name} holds {len(table):,} cells, the labels {len(label_split):,}, of which {len(missing):,} are "
            f"not in {name}{example}; they come from different runs: run both pipelines again"
        )
    return table.loc[label_split.index]
