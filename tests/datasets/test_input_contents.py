"""A look into a file tells what reading all of it would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
from scvi_downstream.datasets.input_contents import open_contents, some_values
from scvi_downstream.runtime.errors import InputError, plain_error

CELLS, GENES = [f"cell_{i}" for i in range(6)], [f"ENSG{i}" for i in range(4)]


def cells(*, dense: bool = False) -> anndata.AnnData:
    counts = sparse.random(6, 4, 0.5, format="csr", random_state=0, dtype=np.float32)
    counts.data = np.ceil(counts.data * 9)
    obs = pd.DataFrame({"donor": pd.Categorical(list("aabbcc")), "score": np.arange(6) / 7}, index=CELLS)
    found = anndata.AnnData(counts.toarray() if dense else counts, obs=obs, var=pd.DataFrame(index=GENES))
    found.layers["scaled"] = found.X / 2
    found.obsm["protein_expression"] = np.ones((6, 2))
    return found


def h5mu(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        write_elem(file, "obs", pd.DataFrame({"batch": list("xxxyyy")}, index=CELLS))
        write_elem(file.create_group("mod"), "rna", cells())
    return path


def ten_x_h5(path: Path) -> Path:
    counts = sparse.csr_matrix(np.arange(24, dtype=np.int32).reshape(6, 4))
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"], matrix["shape"] = np.array(CELLS, dtype="S"), (4, 6)
        matrix["data"], matrix["indices"], matrix["indptr"] = counts.data, counts.indices, counts.indptr
        features = matrix.create_group("features")
        types = ["Gene Expression"] * 3 + ["Antibody Capture"]
        for name, values in {"id": GENES, "name": GENES, "feature_type": types, "genome": ["x"] * 4}.items():
            features[name] = np.array(values, dtype="S")
    return path


def written(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind == "both.h5mu":
        return h5mu(path)
    if kind == "10x.h5":
        return ten_x_h5(path)
    adata = cells(dense="dense" in kind)
    if "raw" in kind:
        adata.raw = adata.copy()
        adata.X = None
    (adata.write_zarr if kind.endswith(".zarr") else adata.write_h5ad)(path)
    return path


@pytest.mark.parametrize(
    "kind", ["sparse.h5ad", "dense.h5ad", "raw.h5ad", "cells.zarr", "both.h5mu", "10x.h5"]
)
def test_it_is_what_the_whole_file_holds(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    whole = CountsInputDataset(source=str(path)).load()
    with open_contents(str(path)) as contents:
        pd.testing.assert_frame_equal(contents.obs, whole.obs, check_names=False, check_column_type=False)
        assert list(contents.genes) == list(whole.var_names)
        layers = {name for name in whole.layers if name is not None}
        assert contents.slots.keys() - {None, "raw"} == layers
        assert (None in contents.slots) == (whole.X is not None)
        assert ("raw" in contents.slots) == (whole.raw is not None)
        assert set(contents.obsm) == set(whole.obsm)
        stored = contents.slots["raw" if "raw" in kind else None]
        values, total = some_values(stored, 1000)
        assert total == len(values) == np.prod(stored.shape)
    if kind != "10x.h5":  # where proteins are among the values
        matrix = whole.raw.X if "raw" in kind else whole.X
        assert values.sum() == matrix.sum()


def test_the_demonstration_and_a_10x_folder_are_read_whole(tmp_path: Path) -> None:
    with open_contents("pbmc68k") as contents:
        assert contents.obs.shape[0] == 700
        assert list(contents.slots) == [None]
    (tmp_path / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 1 5\n")
    for name in ("features", "barcodes"):
        (tmp_path / f"{name}.tsv").write_text("a\nb\n")
    with open_contents(str(tmp_path)) as contents:
        assert some_values(contents.slots[None], 10)[0].tolist() == [5]


def test_a_layer_called_raw_comes_before_the_slot() -> None:
    adata = cells()
    adata.raw = adata.copy()
    adata.layers["raw"] = adata.X * 7
    from scvi_downstream.datasets.input_contents import _of_anndata

    assert _of_anndata(adata).slots["raw"].sum() == 7 * adata.X.sum()


@pytest.mark.parametrize("shape", [(100_000,), (1000, 100), (100_000, 1), (3, 50_000)])
def test_some_values_are_bounded_and_from_all_over(shape: tuple[int, ...]) -> None:
    stored = np.arange(np.prod(shape)).reshape(shape)
    values, total = some_values(stored, 1000)
    assert total == stored.size
    assert len(values) <= max(1000, stored.shape[-1] if len(shape) > 1 else 0)
    assert len(np.unique(values)) == len(values)
    if shape[0] > 3:
        assert values.min() < 0.1 * total
        assert values.max() > 0.9 * total


@pytest.mark.parametrize("name", ["none.h5ad", "cut.h5ad", "cells.txt", "empty"])
def test_what_cannot_be_read_is_one_message(name: str, tmp_path: Path) -> None:
    path: Any = tmp_path / name
    if name == "cut.h5ad":
        cells().write_h5ad(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "cells.txt":
        path.write_text("no cells")
    elif name == "empty":
        path.mkdir()
    with pytest.raises((InputError, DatasetError)) as error, open_contents(str(path)):
        pass
    plain = plain_error(error.value)
    assert isinstance(plain, InputError)
    assert str(path) in str(plain)
