"""``SparseGraphDataset`` loads and saves a kNN graph."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.datasets.json_dataset import SummarizedFile
from scvi_downstream.graphs.neighbors import NeighborsGraph


class SparseGraphDataset(SummarizedFile):
    """``SparseGraphDataset`` keeps a ``NeighborsGraph`` as NumPy arrays, exactly and without pickle.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        neighbors:
          type: scvi_downstream.datasets.SparseGraphDataset
          filepath: data/07_model_output/neighbors.npz

    Using the Python API:

    >>> import numpy as np, pandas as pd
    >>> from scipy.sparse import identity
    >>> from scvi_downstream.datasets import SparseGraphDataset
    >>> from scvi_downstream.graphs.neighbors import NeighborsGraph
    >>> itself = np.arange(3, dtype="int32")[:, None]
    >>> distances, links = itself.astype("float32"), identity(3, format="csr")
    >>> graph = NeighborsGraph(pd.Index(list("abc")), itself, distances, links, n_neighbors=1, exact=True)
    >>> dataset = SparseGraphDataset(filepath=tmp_path / "neighbors.npz")
    >>> dataset.save(graph)
    >>> list(dataset.load().cells)
    ['a', 'b', 'c']
    """

    KIND = "a neighbours graph"

    def _read(self) -> NeighborsGraph:
        with np.load(self._filepath, allow_pickle=False) as saved:
            return _unpack({name: saved[name] for name in saved.files})

    def _write(self, data: NeighborsGraph) -> None:
        with self._filepath.open("wb") as file:
            np.savez(file, allow_pickle=False, **_pack(data))

    def _about(self) -> dict[str, Any]:
        graph = self.load()
        return {
            "n_cells": len(graph.cells),
            "k": graph.indices.shape[1],
            "n_neighbors": graph.n_neighbors,
            "edges": int(graph.connectivities.nnz),
            "exact": graph.exact,
        }


def _pack(graph: NeighborsGraph) -> dict[str, np.ndarray]:
    connectivities = sparse.csr_matrix(graph.connectivities)
    about = {
        "index_name": graph.cells.name,
        "index_dtype": "object" if graph.cells.dtype == object else "str",
        "n_neighbors": int(graph.n_neighbors),
        "exact": bool(graph.exact),
    }
    names = [str(name).encode() for name in graph.cells]
    return {
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        "cells": np.frombuffer(b"".join(names), dtype=np.uint8),
        "cell_lengths": np.array([len(name) for name in names], dtype=np.int64),
        "indices": graph.indices,
        "distances": graph.distances,
        "data": connectivities.data,
        "columns": connectivities.indices,
        "row_starts": connectivities.indptr,
    }


def _unpack(saved: dict[str, np.ndarray]) -> NeighborsGraph:
    about = json.loads(saved["about"].tobytes())
    lengths, text = saved["cell_lengths"], saved["cells"].tobytes()
    ends = zip(np.cumsum(lengths), lengths, strict=True)
    names = [text[end - length : end].decode() for end, length in ends]
    n_cells = len(names)
    if len(saved["indices"]) != n_cells or saved["indices"].shape != saved["distances"].shape:
        raise ValueError(f"{n_cells} cells, but neighbours of {len(saved['indices'])}")
    arrays = (saved["data"], saved["columns"], saved["row_starts"])
    connectivities = sparse.csr_matrix(arrays, shape=(n_cells, n_cells))
    connectivities.check_format(full_check=True)
    return NeighborsGraph(
        cells=pd.Index(names, dtype=about["index_dtype"], name=about["index_name"]),
        indices=saved["indices"],
        distances=saved["distances"],
        connectivities=connectivities,
        n_neighbors=about["n_neighbors"],
        exact=about["exact"],
    )
