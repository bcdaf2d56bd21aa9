"""``ExpressionZarrDataset`` streams expression of cells by genes to a chunked zarr store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scvi_downstream.cells.expression import ExpressionMatrix, ExpressionStream
from scvi_downstream.datasets.json_dataset import SummarizedFile, plain

_CHUNK_GENES = 256


class ExpressionZarrDataset(SummarizedFile):
    """``ExpressionZarrDataset`` saves blocks of cells as they are decoded; it loads a lazy handle.

    The store is zarr version 3, compressed by LZ4, with the arrays ``values`` (float32, cells by genes),
    ``cells`` and ``genes``. Memory depends on the size of a block, not on the number of cells.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        expression:
          type: scvi_downstream.datasets.ExpressionZarrDataset
          filepath: data/07_model_output/expression.zarr

    Using the Python API:

    >>> import numpy as np, pandas as pd
    >>> from scvi_downstream.datasets import ExpressionZarrDataset
    >>> from scvi_downstream.cells.expression import ExpressionStream
    >>> blocks = iter([np.ones((2, 3), "float32"), np.zeros((1, 3), "float32")])
    >>> dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    >>> dataset.save(ExpressionStream(pd.Index(["c1", "c2", "c3"]), pd.Index(["A", "B", "C"]), blocks, 2, {}))
    >>> dataset.load().read(genes=["B"])["B"].tolist()
    [1.0, 1.0, 0.0]
    """

    KIND = "a zarr store of expression"

    def _read(self) -> ExpressionMatrix:
        matrix = ExpressionMatrix(self._filepath)
        if matrix.shape != (len(matrix.cells), len(matrix.genes)):
            raise ValueError(
                f"{matrix.shape} values for {len(matrix.cells)} cells and {len(matrix.genes)} genes"
            )
        return matrix

    def _write(self, data: ExpressionStream) -> None:
        _write_blocks(data, self._filepath)

    def _about(self) -> dict[str, Any]:
        matrix = self.load()
        n_cells, n_genes = matrix.shape
        return {"n_cells": n_cells, "n_genes": n_genes} | matrix.attributes


def _write_blocks(stream: ExpressionStream, store: Path) -> None:
    import zarr
    from zarr.codecs import BloscCodec

    n_cells, n_genes = len(stream.cells), len(stream.genes)
    group = zarr.create_group(store, zarr_format=3, attributes=plain(stream.attributes))
    for name, index in (("cells", stream.cells), ("genes", stream.genes)):
        names = group.create_array(name, shape=(len(index),), dtype="string", chunks=(max(len(index), 1),))
        if len(index):
            names[:] = index.to_numpy(dtype=object).astype(np.dtypes.StringDType())
    chunks = (max(1, min(stream.chunk_cells, n_cells)), max(1, min(_CHUNK_GENES, n_genes)))
    # As small as by zstd, which denoised values hardly yield to, for a third of the time
    compressor = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")
    values = group.create_array(
        "values", shape=(n_cells, n_genes), chunks=chunks, dtype="float32", compressors=compressor
    )
    done = 0
    for block in stream.blocks:
        end = done + len(block)
        if block.ndim != 2 or block.shape[1] != n_genes or end > n_cells:
            raise ValueError(
                f"the block of shape {block.shape} after {done} cells does not fit into {n_cells} cells "
                f"and {n_genes} genes"
            )
        values[done:end] = np.asarray(block, dtype=np.float32)
        done = end
    if done != n_cells:
        raise ValueError(f"the blocks hold {done} cells, but there are {n_cells} cell names")
