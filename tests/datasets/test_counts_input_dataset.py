from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
from scvi_downstream.runtime.errors import InputError

COUNTS = sparse.csr_matrix(np.arange(12, dtype=np.int64).reshape(3, 4))  # 3 cells, 4 features
FEATURES = [
    ("ENSG1", "CD3D", "Gene Expression"),
    ("ENSG2", "TBCE", "Gene Expression"),
    ("ENSG3", "TBCE", "Gene Expression"),
    ("ENSG4", "NA", "Gene Expression"),
]
BARCODES = ["AAAC-1", "AAAG-1", "AAAT-2"]


def load(source: object) -> anndata.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of anndata on pandas
        return CountsInputDataset(source=str(source)).load()


def refusal(source: object) -> str:
    with pytest.raises(DatasetError) as raised:
        CountsInputDataset(source=str(source)).load()
    assert isinstance(raised.value.__cause__, InputError)
    return str(raised.value.__cause__)


def write(path: Path, text: str) -> None:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def write_ten_x(folder: Path, *, version: int, zipped: bool, prefix: str = "", features=FEATURES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    end = ".gz" if zipped else ""
    scipy.io.mmwrite(folder / "m.mtx", COUNTS.T)
    write(folder / f"{prefix}matrix.mtx{end}", (folder / "m.mtx").read_text())
    (folder / "m.mtx").unlink()
    columns = 2 if version == 2 else 3
    rows = "".join("\t".join(feature[:columns]) + "\n" for feature in features)
    write(folder / f"{prefix}{'genes' if version == 2 else 'features'}.tsv{end}", rows)
    write(folder / f"{prefix}barcodes.tsv{end}", "\n".join(BARCODES) + "\n")
    return folder


def write_ten_x_h5(path: Path) -> None:
    columns = COUNTS.T.tocsc()
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(BARCODES, dtype="S")
        matrix["data"], matrix["indices"], matrix["indptr"] = columns.data, columns.indices, columns.indptr
        matrix["shape"] = columns.shape
        features = matrix.create_group("features")
        for name, at in (("id", 0), ("name", 1), ("feature_type", 2)):
            features[name] = np.array([feature[at] for feature in FEATURES], dtype="S")
        features["genome"] = np.array(["GRCh38"] * 4, dtype="S")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S")


def check_ten_x(adata: anndata.AnnData) -> None:
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS.toarray())
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.obs_names.tolist() == BARCODES
    assert adata.var_names.tolist() == ["CD3D", "TBCE", "TBCE-1", "NA"]
    assert adata.var["gene_ids"].tolist() == ["ENSG1", "ENSG2", "ENSG3", "ENSG4"]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "GSM1_"])
def test_ten_x_folder(tmp_path: Path, version: int, zipped: bool, prefix: str) -> None:
    check_ten_x(load(write_ten_x(tmp_path / "run", version=version, zipped=zipped, prefix=prefix)))


def test_ten_x_h5(tmp_path: Path) -> None:
    write_ten_x_h5(tmp_path / "run.h5")
    check_ten_x(load(tmp_path / "run.h5"))


def test_features_that_are_no_genes_are_left_out(tmp_path: Path) -> None:
    features = [*FEATURES[:3], ("CD3", "CD3_TotalSeqB", "Antibody Capture")]
    adata = load(write_ten_x(tmp_path / "run", version=3, zipped=True, features=features))
    assert adata.var_names.tolist() == ["CD3D", "TBCE", "TBCE-1"]
    assert not adata.is_view


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_anndata_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    adata = anndata.AnnData(COUNTS.astype(np.float32), obs=pd.DataFrame(index=BARCODES))
    getattr(adata, f"write_{suffix}")(tmp_path / f"counts.{suffix}")
    loaded = load(tmp_path / f"counts.{suffix}")
    assert (loaded.X != COUNTS).nnz == 0
    assert loaded.obs_names.tolist() == BARCODES


def test_pbmc68k_counts_are_exact() -> None:
    import scanpy

    adata = load("pbmc68k")
    assert adata.shape == (700, 765)
    assert adata.X.dtype == np.float32
    assert isinstance(adata.X, sparse.csr_matrix)
    assert np.array_equal(adata.X.data, np.rint(adata.X.data))
    assert adata.X.data.min() >= 1
    published = scanpy.datasets.pbmc68k_reduced()
    again = adata.X.toarray() / published.obs["n_counts"].to_numpy()[:, None] * 1e4
    # A count that is off by one would be far beyond this.
    np.testing.assert_allclose(np.log1p(again), published.raw.X.toarray(), atol=2e-3)
    assert adata.obs["batch"].value_counts().sort_index().tolist() == [95, 74, 100, 81, 86, 83, 91, 90]
    assert adata.obs["cell_type"].cat.categories.size == 10
    assert adata.obs["cell_type"].tolist() == published.obs["bulk_labels"].tolist()
    assert {"S_score", "G2M_score", "phase"} <= set(adata.obs)
    assert not adata.obsm
    assert not adata.uns
    assert CountsInputDataset(source="pbmc68k").exists()


def test_relative_paths_are_of_the_current_folder_or_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, below = tmp_path / "project", tmp_path / "project" / "notebooks"
    below.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "p"\nproject_name = "p"\nkedro_init_version = "1.7.0"'
    )
    write_ten_x_h5(project / "here.h5")
    monkeypatch.chdir(below)
    assert load("here.h5").n_obs == 3
    write_ten_x_h5(below / "there.h5")
    assert load("there.h5").n_obs == 3
    monkeypatch.chdir(tmp_path)
    assert "does not exist" in refusal("here.h5")


def test_missing_path_suggests_the_closest(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kang_ifnb.h5ad").touch()
    said = refusal(tmp_path / "data" / "kang.h5ad")
    assert "does not exist" in said
    assert "the closest is 'kang_ifnb.h5ad'" in said
    assert f"there is no dat in {tmp_path}; the closest is 'data'" in refusal(
        tmp_path / "dat" / "kang_ifnb.h5ad"
    )


def test_misspelt_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the closest is 'pbmc68k'" in refusal("pbmc68")


def test_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "counts.loom").touch()
    said = refusal(tmp_path / "counts.loom")
    assert "counts.loom is of an unknown format" in said
    assert "10x matrix folder" in said


@pytest.mark.parametrize("name", ["counts.h5ad", "counts.h5"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".h5":
        write_ten_x_h5(path)
    else:
        anndata.AnnData(COUNTS.astype(np.float32)).write_h5ad(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    said = refusal(path)
    assert f"{path} cannot be read as" in said
    assert "truncated" in said


def test_text_called_h5ad(tmp_path: Path) -> None:
    (tmp_path / "counts.h5ad").write_text("gene,c1,c2\n")
    assert "cannot be read as HDF5" in refusal(tmp_path / "counts.h5ad")


def test_hdf5_of_another_kind(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["velocity"] = 1
    assert "neither AnnData nor 10x: it holds velocity" in refusal(tmp_path / "other.h5")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert f"the folder {tmp_path / 'run'} is empty" in refusal(tmp_path / "run")


def test_folder_above_the_matrix(tmp_path: Path) -> None:
    write_ten_x(tmp_path / "outs" / "filtered_feature_bc_matrix", version=3, zipped=True)
    assert f"did you mean {tmp_path / 'outs' / 'filtered_feature_bc_matrix'}" in refusal(tmp_path / "outs")


def test_ten_x_folder_without_barcodes(tmp_path: Path) -> None:
    (write_ten_x(tmp_path / "run", version=3, zipped=True) / "barcodes.tsv.gz").unlink()
    assert "holds matrix.mtx but no barcodes.tsv" in refusal(tmp_path / "run")


def test_ten_x_folder_that_disagrees(tmp_path: Path) -> None:
    folder = write_ten_x(tmp_path / "run", version=3, zipped=False)
    (folder / "barcodes.tsv").write_text("AAAC-1\n")
    assert "has 1 lines, but matrix.mtx is for 3" in refusal(folder)


def test_truncated_matrix(tmp_path: Path) -> None:
    folder = write_ten_x(tmp_path / "run", version=3, zipped=True)
    content = (folder / "matrix.mtx.gz").read_bytes()
    (folder / "matrix.mtx.gz").write_bytes(content[: len(content) // 2])
    assert "matrix.mtx.gz cannot be read as a Matrix Market file" in refusal(folder)


def test_two_matrices(tmp_path: Path) -> None:
    for prefix in ("a_", "b_"):
        write_ten_x(tmp_path / "run", version=3, zipped=True, prefix=prefix)
    assert "holds 2 matrices (a_, b_)" in refusal(tmp_path / "run")


def test_one_file_of_a_folder(tmp_path: Path) -> None:
    folder = write_ten_x(tmp_path / "run", version=3, zipped=True)
    assert f"name the folder {folder}" in refusal(folder / "matrix.mtx.gz")


def test_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="read only"):
        CountsInputDataset(source=str(tmp_path / "counts.h5ad")).save(1)
