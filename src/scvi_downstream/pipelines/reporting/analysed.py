"""One AnnData of everything that is known about each cell, for scanpy and CELLxGENE."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.graphs.neighbors import NeighborsGraph, nearest_distances
from scvi_downstream.plots.style import MISSING, category_colors, column_colors
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.slow_types import AnnData

logger = logging.getLogger(__name__)
INPUT = "input_"
# CELLxGENE and scanpy draw no legend of more categories than this.
MAX_COLORED_CATEGORIES = 200


def aligned(table: pd.DataFrame, cells: pd.Index, name: str) -> pd.DataFrame:
    """Rows of ``table`` in the order of ``cells``, whose names it must have; else an InputError calls it ``name``."""
    if table.index.equals(cells):
        return table
    _check_cells(table.index, cells, name)
    return table.loc[cells]


def _check_cells(found: pd.Index, cells: pd.Index, name: str) -> None:
    twice = found[found.duplicated()]
    if len(twice):
        raise InputError(
            f"{name} holds {len(twice):,} cells twice, such as '{twice[0]}'; run the step that makes it again"
        )
    missing, unexpected = cells.difference(found), found.difference(cells)
    if len(missing) or len(unexpected):
        example = (missing if len(missing) else unexpected)[0]
        raise InputError(
            f"the cells of {name} are not those of counts: {len(missing):,} of {len(cells):,} are missing and "
            f"{len(unexpected):,} are not in counts, such as '{example}'; {name} comes from another run, "
            "so make it again"
        )


def join_columns(tables: Mapping[str, pd.DataFrame], cells: pd.Index) -> pd.DataFrame:
    """Columns of all tables by cell, side by side, in the order of the cells of the counts.

    Raises
    ------
    InputError
        Two tables hold a column of the same name, or other cells than the counts.
    """
    owner: dict[str, str] = {}
    for name, table in tables.items():
        for column in map(str, table.columns):
            if column in owner:
                raise InputError(
                    f"{name} and {owner[column]} both hold a column '{column}'; rename it in one of them"
                )
            owner[column] = name
    columns = [aligned(table, cells, name) for name, table in tables.items()]
    return pd.concat(columns, axis=1) if columns else pd.DataFrame(index=cells)


def join_observations(own: pd.DataFrame, computed: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """The user's ``obs`` beside the computed columns of the same cells, as types that every viewer reads.

    A column of the user's with the name of a computed one is kept as ``input_<name>``, unless both hold the same
    values. The columns ``first`` come first.
    """
    own = own.rename(columns=str)
    clashing = [column for column in own if column in computed]
    equal = [column for column in clashing if _same_values(own[column], computed[column])]
    renamed = {column: INPUT + column for column in clashing if column not in equal}
    if renamed:
        logger.warning(
            "analysed: obs already held %s; those columns of the input are kept as %s",
            ", ".join(renamed),
            ", ".join(renamed.values()),
        )
    joined = pd.concat([own.drop(columns=equal).rename(columns=renamed), computed], axis=1)
    joined = joined.rename(columns=_plain_key)
    if joined.columns.has_duplicates:
        twice = joined.columns[joined.columns.duplicated()][0]
        raise InputError(f"obs would hold two columns '{twice}'; rename one of them in the input")
    front = [column for column in dict.fromkeys(map(_plain_key, first)) if column in joined]
    joined = joined[front + [column for column in joined if column not in front]]
    joined.index = joined.index.astype(str)
    return joined.apply(_viewable)


def _same_values(left: pd.Series, right: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(left) and pd.api.types.is_numeric_dtype(right):
        return bool(np.allclose(left.to_numpy(float), right.to_numpy(float), rtol=1e-5, equal_nan=True))
    return bool((left.astype(str).to_numpy() == right.astype(str).to_numpy()).all())


def _plain_key(name: object) -> str:
    return str(name).replace("/", "_")  # a slash makes a folder in HDF5


def _viewable(column: pd.Series) -> pd.Series:
    """Categories of text, or numpy numbers and booleans: what CELLxGENE can show."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories(str).cat.as_unordered()
    if pd.api.types.is_bool_dtype(column) and not column.hasnans:
        return column.astype(bool)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        if column.hasnans:
            return pd.Series(column.to_numpy(float, na_value=np.nan), column.index)
        return column if isinstance(column.dtype, np.dtype) else pd.Series(column.to_numpy(), column.index)
    return column.where(column.isna(), column.astype(str)).astype("category")


def embedding(table: pd.DataFrame, cells: pd.Index, name: str) -> np.ndarray:
    """Coordinates of ``table`` as ``(n_cells, n_dims)`` float32, in the order of ``cells``."""
    coordinates = np.ascontiguousarray(aligned(table, cells, name).to_numpy(np.float32))
    if not np.isfinite(coordinates).all():
        raise InputError(
            f"{name} holds NaN or infinite coordinates, so no viewer can show it; the model did not converge"
        )
    return coordinates


def scanpy_graphs(neighbors: NeighborsGraph, cells: pd.Index) -> dict[str, sparse.csr_matrix]:
    """``connectivities`` and ``distances`` as scanpy keeps them in ``obsp``.

    ``distances`` holds each cell's ``n_neighbors - 1`` nearest other cells, as after ``scanpy.pp.neighbors``.
    """
    graphs = {"connectivities": neighbors.connectivities.tocsr(), "distances": nearest_distances(neighbors)}
    if neighbors.cells.equals(cells):
        return {name: graph.copy() for name, graph in graphs.items()}
    _check_cells(neighbors.cells, cells, "neighbors")
    order = neighbors.cells.get_indexer(cells)
    return {name: graph[order][:, order] for name, graph in graphs.items()}


def neighbors_record(n_neighbors: int, use_rep: str | None) -> dict[str, Any]:
    """``uns["neighbors"]``, by which ``scanpy.tl.*`` find the graphs."""
    params: dict[str, Any] = {"n_neighbors": n_neighbors, "method": "umap", "metric": "euclidean"}
    if use_rep is not None:
        params["use_rep"] = use_rep
    return {"connectivities_key": "connectivities", "distances_key": "distances", "params": params}


def _legend_colors(
    observations: pd.DataFrame, counts: AnnData, like: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """``<column>_colors`` for each categorical column, in the order of its categories, as all figures have them."""
    found = {}
    for name, column in observations.select_dtypes("category").items():
        names = column.cat.categories
        own = {_plain_key(each): str(each) for each in counts.obs}
        source = like.get(str(name)) or own.get(str(name)) or own.get(str(name).removeprefix(INPUT))
        colors = category_colors(names) if source is None else column_colors(counts, source)
        if 0 < len(names) <= MAX_COLORED_CATEGORIES:
            found[f"{name}_colors"] = np.array([colors.get(each, MISSING) for each in names], dtype=object)
    return found


def assemble(
    counts: AnnData,
    observations: pd.DataFrame,
    embeddings: Mapping[str, np.ndarray],
    graphs: Mapping[str, sparse.csr_matrix],
    like: Mapping[str, str],
) -> AnnData:
    """A new AnnData on the matrix of ``counts``, which is shared and not copied.

    ``like`` are columns whose categories have the colours of those of a column of the counts.
    """
    from anndata import AnnData

    genes = (
        counts.var.rename(columns=_plain_key).apply(_viewable) if counts.var.shape[1] else counts.var.copy()
    )
    analysed = AnnData(X=counts.X, obs=observations, var=genes)
    analysed.obsm.update(dict(counts.obsm) | dict(embeddings))
    analysed.obsp.update(graphs)
    analysed.uns.update(_legend_colors(observations, counts, like))
    return analysed


def searched_embedding(
    neighbors: NeighborsGraph, embeddings: Mapping[str, np.ndarray], cells: pd.Index
) -> str | None:
    """Name of the embedding in which the neighbours were searched, told by the distances themselves."""
    if neighbors.distances.shape[1] < 2:
        return None
    order = cells.get_indexer(neighbors.cells)
    for name, coordinates in embeddings.items():
        points = coordinates[order].astype(np.float64)
        nearest = np.linalg.norm(points - points[neighbors.indices[:, 1]], axis=1)
        if np.allclose(nearest, neighbors.distances[:, 1], rtol=1e-2, atol=1e-2 * float(points.std() or 1)):
            return name
    return None


def add_gene_columns(analysed: AnnData, tables: Mapping[str, pd.DataFrame]) -> None:
    """Columns of tables by gene to ``var``; genes that a table does not hold have NaN.

    An InputError names a column that is in ``var`` already, and genes that are not in the counts.
    """
    for name, table in tables.items():
        for column, values in _by_gene(analysed, name, table).items():
            if column in analysed.var:
                raise InputError(f"var already holds a column '{column}'; rename it in the input")
            analysed.var[str(column)] = _viewable(values)


def add_loadings(analysed: AnnData, tables: Mapping[str, pd.DataFrame]) -> None:
    """Tables by gene to ``varm`` under their keys; genes that a table does not hold have NaN, others are refused."""
    for key, table in tables.items():
        analysed.varm[key] = _by_gene(analysed, key, table).to_numpy(np.float32)


def _by_gene(analysed: AnnData, name: str, given: pd.DataFrame) -> pd.DataFrame:
    table = given.set_index("gene") if "gene" in given else given
    unknown = table.index.difference(analysed.var_names)
    if len(unknown):
        raise InputError(f"{name} holds genes that are not in counts, such as '{unknown[0]}'; make it again")
    return table.reindex(analysed.var_names)


def add_results(analysed: AnnData, tables: Mapping[str, pd.DataFrame]) -> None:
    """Tables whose rows are neither cells nor genes to ``uns``; empty ones are left out."""
    for name, table in tables.items():
        if len(table):
            plain = table.reset_index(drop=isinstance(table.index, pd.RangeIndex)).rename(columns=_plain_key)
            plain.index = plain.index.astype(str)
            analysed.uns[name] = plain.apply(_viewable)
