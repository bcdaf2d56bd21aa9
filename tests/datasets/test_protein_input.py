"""Proteins come with AnnData, MuData and 10x files, and are seen by a look at the headers."""

from __future__ import annotations

import gzip
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.io import mmwrite

from scvi_downstream.datasets.counts_input_dataset import (
    CountsInputDataset,
    has_proteins,
    protein_modality,
    read_mudata,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.upstream.anndata_dataset import write_h5ad, write_zarr

RNA = np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32)
PROTEINS = np.array([[5, 0], [7, 9]], dtype=np.float32)
CELLS = ["a-1", "b-1"]


def with_table() -> AnnData:
    adata = AnnData(
        sparse.csr_matrix(RNA), obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=["g1", "g2", "g3"])
    )
    adata.obsm["protein_expression"] = pd.DataFrame(PROTEINS, index=CELLS, columns=["CD3", "CD19 β"])
    return adata


def ten_x_folder(folder: Path, *, antibodies: bool = True) -> Path:
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", sparse.csr_matrix(np.hstack([RNA, PROTEINS, [[4], [4]]]).T.astype(int)))
    kinds = ["Gene Expression"] * 3 + ["Antibody Capture" if antibodies else "CRISPR Guide Capture"] * 2
    names = ["g1", "g2", "g3", "CD3", "CD19"]
    rows = [f"id{i}\t{name}\t{kind}" for i, (name, kind) in enumerate(zip(names, kinds, strict=True))]
    rows.append("id9\tguide\tCRISPR Guide Capture")
    with gzip.open(folder / "features.tsv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
    (folder / "barcodes.tsv").write_text("\n".join(CELLS) + "\n")
    return folder


def ten_x_h5(path: Path) -> Path:
    matrix = sparse.csc_matrix(np.hstack([RNA, PROTEINS]).T.astype(np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(CELLS, dtype="S")
        group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
        group["shape"] = np.array(matrix.shape)
        features = group.create_group("features")
        names = ["g1", "g2", "g3", "CD3", "CD19"]
        features["id"] = np.array([f"id{i}" for i in range(5)], dtype="S")
        features["name"] = np.array(names, dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * 3 + ["Antibody Capture"] * 2, dtype="S")
        features["genome"] = np.array(["x"] * 5, dtype="S")
    return path


def h5mu(path: Path, protein: str = "prot", rna: str = "rna") -> Path:
    import mudata

    proteins = AnnData(
        PROTEINS[::-1], obs=pd.DataFrame(index=CELLS[::-1]), var=pd.DataFrame(index=["CD3", "CD19"])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = mudata.MuData({rna: with_table(), protein: proteins})
        del both.mod[rna].obsm["protein_expression"]
        both.obs["donor"] = pd.Series({"a-1": "x", "b-1": "y"})
        both.write(path)
    return path


@pytest.mark.parametrize("written", ["h5ad", "zarr"])
def test_what_this_project_writes_comes_back(tmp_path: Path, written: str) -> None:
    path = tmp_path / f"counts.{written}"
    (write_h5ad if written == "h5ad" else write_zarr)(path, with_table(), {})
    back = CountsInputDataset(source=str(path)).load()
    pd.testing.assert_frame_equal(
        pd.DataFrame(back.obsm["protein_expression"]), with_table().obsm["protein_expression"], check_index_type=False,
        check_column_type=False,
    )  # fmt: skip
    assert has_proteins(str(path))
    assert not has_proteins(str(path), "adt")


def test_a_10x_folder_keeps_antibodies_and_leaves_guides_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ten_x_folder(tmp_path / "matrix")
    with caplog.at_level("INFO"):
        adata = CountsInputDataset(source=str(folder)).load()
    assert adata.var_names.tolist() == ["g1", "g2", "g3"]
    table = adata.obsm["protein_expression"]
    assert table.columns.tolist() == ["CD3", "CD19"]
    np.testing.assert_array_equal(table.to_numpy(), PROTEINS)
    assert "1 features that are no genes or proteins" in caplog.text
    assert has_proteins(str(folder))
    assert not has_proteins(str(ten_x_folder(tmp_path / "guides", antibodies=False)))


def test_a_10x_h5_file_keeps_antibodies(tmp_path: Path) -> None:
    path = ten_x_h5(tmp_path / "matrix.h5")
    adata = CountsInputDataset(source=str(path)).load()
    np.testing.assert_array_equal(adata.X.toarray(), RNA)
    np.testing.assert_array_equal(adata.obsm["protein_expression"].to_numpy(), PROTEINS)
    assert has_proteins(str(path))


@pytest.mark.parametrize("protein", ["prot", "ADT", "protein"])
def test_mudata_is_joined_by_cell_name(tmp_path: Path, protein: str) -> None:
    path = h5mu(tmp_path / "both.h5mu", protein)
    assert has_proteins(str(path))
    adata = CountsInputDataset(source=str(path)).load()
    assert adata.obs_names.tolist() == CELLS
    np.testing.assert_array_equal(adata.X.toarray(), RNA)
    np.testing.assert_array_equal(adata.obsm["protein_expression"].to_numpy(), PROTEINS)
    assert adata.obs["donor"].astype(str).tolist() == ["x", "y"]


def test_mudata_without_rna_names_what_it_holds(tmp_path: Path) -> None:
    path = h5mu(tmp_path / "both.h5mu", rna="atac")
    with pytest.raises(InputError, match="no modality 'rna'; there are 'atac', 'prot'"):
        read_mudata(path)


def test_modalities_are_found_in_any_case() -> None:
    assert protein_modality(["rna", "ADT"]) == "ADT"
    assert protein_modality(["rna", "atac"]) is None


def test_what_cannot_be_opened_has_no_proteins(tmp_path: Path) -> None:
    assert not has_proteins(str(tmp_path / "missing.h5ad"))
    assert not has_proteins("pbmc68k")
    (tmp_path / "broken.h5ad").write_text("no HDF5")
    assert not has_proteins(str(tmp_path / "broken.h5ad"))


def test_the_look_takes_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "counts.h5ad"
    write_h5ad(path, with_table(), {})
    has_proteins(str(path))
    start = time.perf_counter()
    assert has_proteins(str(path))
    assert time.perf_counter() - start < 0.5
