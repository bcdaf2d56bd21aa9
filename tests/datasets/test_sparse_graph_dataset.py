from __future__ import annotations

import dataclasses
import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.datasets.sparse_graph_dataset import SparseGraphDataset
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.runtime.errors import InputError

names = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=12, unique=True
)


def make_graph(cells: list[str], k: int, seed: int = 0) -> NeighborsGraph:
    rng = np.random.default_rng(seed)
    n = len(cells)
    upper = sparse.random(n, n, density=0.4, format="csr", dtype=np.float32, rng=rng)
    return NeighborsGraph(
        cells=pd.Index(cells, name="cell", dtype="str"),
        indices=rng.integers(0, n, (n, k)).astype(np.int32),
        distances=np.sort(rng.random((n, k)).astype(np.float32), axis=1),
        connectivities=sparse.csr_matrix(upper.maximum(upper.T)),
        n_neighbors=k,
        exact=bool(seed % 2),
    )


@settings(max_examples=40, deadline=None)
@given(cells=names, k=st.integers(1, 4), seed=st.integers(0, 5), as_object=st.booleans())
def test_round_trip(cells: list[str], k: int, seed: int, as_object: bool) -> None:
    graph = make_graph(cells, k, seed)
    if as_object:
        graph = dataclasses.replace(graph, cells=graph.cells.astype(object))
    with tempfile.TemporaryDirectory() as folder:
        dataset = SparseGraphDataset(filepath=Path(folder) / "neighbors.npz")
        dataset.save(graph)
        loaded = dataset.load()
    pd.testing.assert_index_equal(loaded.cells, graph.cells, exact=True)
    for name in ("indices", "distances"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(graph, name))
        assert getattr(loaded, name).dtype == getattr(graph, name).dtype
    assert isinstance(loaded.connectivities, sparse.csr_matrix)
    assert loaded.connectivities.dtype == graph.connectivities.dtype
    assert (loaded.connectivities != graph.connectivities).nnz == 0
    assert (loaded.n_neighbors, loaded.exact) == (graph.n_neighbors, graph.exact)


def test_preview(tmp_path: Path) -> None:
    dataset = SparseGraphDataset(filepath=tmp_path / "neighbors.npz")
    assert dataset.preview() is None
    graph = make_graph(list("abcdef"), 3)
    dataset.save(graph)
    preview = json.loads(dataset.preview())
    assert preview == {
        "n_cells": 6,
        "k": 3,
        "n_neighbors": 3,
        "edges": graph.connectivities.nnz,
        "exact": False,
    }


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "neighbors.npz"
    np.savez(path, about=np.array([{"code": 1}], dtype=object))
    with pytest.raises(DatasetError, match="cannot be read as a neighbours graph") as raised:
        SparseGraphDataset(filepath=path).load()
    assert isinstance(raised.value.__cause__, InputError)
    path.write_bytes(pickle.dumps({"cells": 1}))
    with pytest.raises(DatasetError, match="cannot be read as a neighbours graph"):
        SparseGraphDataset(filepath=path).load()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "neighbors.npz"
    SparseGraphDataset(filepath=path).save(make_graph(list("abcdef"), 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DatasetError, match=f"{path} cannot be read as a neighbours graph"):
        SparseGraphDataset(filepath=path).load()


def test_parts_that_disagree_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "neighbors.npz"
    SparseGraphDataset(filepath=path).save(make_graph(list("abcdef"), 3))
    with np.load(path) as saved:
        parts = dict(saved)
    parts["indices"] = parts["indices"][:2]
    np.savez(path, **parts)
    with pytest.raises(DatasetError, match="6 cells, but neighbours of 2"):
        SparseGraphDataset(filepath=path).load()


def test_same_graph_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        SparseGraphDataset(filepath=tmp_path / f"{name}.npz").save(make_graph(list("abc"), 2))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
