"""Expression is read back as it was streamed, and only what is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.cells.expression import ExpressionStream, log_normalize
from scvi_downstream.datasets.expression_zarr_dataset import ExpressionZarrDataset
from scvi_downstream.runtime.errors import InputError

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


def stream(values: np.ndarray, rows: int, cells: list[str], genes: list[str]) -> ExpressionStream:
    blocks = (values[start : start + rows] for start in range(0, len(values), rows))
    return ExpressionStream(pd.Index(cells), pd.Index(genes), blocks, rows, {"library_size": np.float64(1e4)})


@pytest.mark.thorough
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    cells=st.lists(names, max_size=9, unique=True),
    genes=st.lists(names, max_size=6, unique=True),
)
def test_round_trip(data: st.DataObject, cells: list[str], genes: list[str]) -> None:
    values = np.random.default_rng(len(cells)).normal(size=(len(cells), len(genes))).astype(np.float32)
    chosen_genes = data.draw(st.permutations(genes))[: data.draw(st.integers(0, len(genes)))]
    chosen_cells = data.draw(st.permutations(cells))[: data.draw(st.integers(0, len(cells)))]
    with tempfile.TemporaryDirectory() as folder:
        dataset = ExpressionZarrDataset(filepath=Path(folder) / "expression.zarr")
        dataset.save(stream(values, data.draw(st.integers(1, 4)), cells, genes))
        matrix = dataset.load()
        expected = pd.DataFrame(
            values,
            index=pd.Index(cells, name="cell", dtype="str"),
            columns=pd.Index(genes, name="gene", dtype="str"),
        )
        assert matrix.shape == values.shape
        assert list(matrix.cells) == cells
        assert list(matrix.genes) == genes
        np.testing.assert_array_equal(matrix.read().to_numpy(), values)
        part = matrix.read(genes=chosen_genes, cells=chosen_cells)
        np.testing.assert_array_equal(part.to_numpy(), expected.loc[chosen_cells, chosen_genes].to_numpy())
        assert list(part.index) == chosen_cells
        assert list(part.columns) == chosen_genes
        assert (part.index.name, part.columns.name) == ("cell", "gene")
        assert (part.dtypes == np.float32).all()


def test_unknown_gene_suggests_the_closest(tmp_path: Path) -> None:
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    dataset.save(stream(np.ones((2, 2), np.float32), 1, ["c1", "c2"], ["CD3D", "NKG7"]))
    with pytest.raises(InputError, match="gene 'CD3' is not there; the closest is 'CD3D'"):
        dataset.load().read(genes=["CD3"])


def test_only_the_chunks_of_a_gene_are_read(tmp_path: Path) -> None:
    genes = [f"g{i}" for i in range(600)]
    values = np.random.default_rng(0).poisson(1, (10, 600)).astype(np.float32)
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    dataset.save(stream(values, 5, [f"c{i}" for i in range(10)], genes))
    for chunk in (tmp_path / "expression.zarr" / "values" / "c").glob("*/0"):
        chunk.write_bytes(b"damaged")  # genes 0 to 255
    np.testing.assert_array_equal(dataset.load().read(genes=["g599"])["g599"], values[:, 599])


def test_blocks_are_not_held(tmp_path: Path) -> None:
    """Each block is written before the next is made, whatever the number of cells."""
    import weakref

    alive: list[weakref.ref] = []
    most = 0

    def blocks():
        nonlocal most
        for _ in range(20):
            block = np.ones((50, 4), np.float32)
            alive.append(weakref.ref(block))
            most = max(most, sum(ref() is not None for ref in alive))
            yield block
            del block

    cells = pd.Index([f"c{i}" for i in range(1000)])
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    dataset.save(ExpressionStream(cells, pd.Index(list("abcd")), blocks(), 50, {}))
    assert dataset.load().read().to_numpy().sum() == 4000
    assert most <= 2


@pytest.mark.parametrize("n_rows", [3, 5])
def test_wrong_number_of_rows_is_refused_and_the_old_store_stays(tmp_path: Path, n_rows: int) -> None:
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    old = np.full((4, 2), 7, np.float32)
    dataset.save(stream(old, 2, list("abcd"), ["A", "B"]))
    with pytest.raises(DatasetError, match="cells"):
        dataset.save(stream(np.ones((n_rows, 2), np.float32), 2, list("abcd"), ["A", "B"]))
    np.testing.assert_array_equal(dataset.load().read().to_numpy(), old)


def test_failure_between_blocks_leaves_the_old_store(tmp_path: Path) -> None:
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    dataset.save(stream(np.zeros((4, 2), np.float32), 2, list("abcd"), ["A", "B"]))

    def broken():
        yield np.ones((2, 2), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.save(ExpressionStream(pd.Index(list("abcd")), pd.Index(["A", "B"]), broken(), 2, {}))
    assert dataset.load().read().to_numpy().sum() == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["expression.zarr"]


def test_attributes_and_preview(tmp_path: Path) -> None:
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    assert dataset.preview() is None
    dataset.save(stream(np.zeros((4, 2), np.float32), 2, list("abcd"), ["A", "B"]))
    assert dataset.load().attributes == {"library_size": 10000.0}
    assert dataset.preview() == '{"n_cells": 4, "n_genes": 2, "library_size": 10000.0}'


def test_damaged_store_is_named(tmp_path: Path) -> None:
    dataset = ExpressionZarrDataset(filepath=tmp_path / "expression.zarr")
    dataset.save(stream(np.zeros((4, 2), np.float32), 2, list("abcd"), ["A", "B"]))
    (tmp_path / "expression.zarr" / "zarr.json").write_text('{"zarr_f')
    with pytest.raises(DatasetError, match=r"expression\.zarr cannot be read") as raised:
        dataset.load()
    assert isinstance(raised.value.__cause__, InputError)


@pytest.mark.thorough
def test_values_are_scanpys_and_counts_stay():
    import scanpy as sc

    counts = AnnData(sparse.random(30, 20, density=0.4, format="csr", dtype=np.float32, rng=0))
    counts.X.data = np.ceil(counts.X.data * 9)
    before = counts.X.copy()
    expected = counts.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(log_normalize(counts).toarray(), expected.X.toarray(), rtol=1e-5)
    chosen = np.array([7, 2])
    np.testing.assert_allclose(
        log_normalize(counts, chosen).toarray(), expected.X[:, chosen].toarray(), rtol=1e-5
    )
    assert (before != counts.X).nnz == 0


def test_a_cell_without_counts_stays_zero():
    counts = AnnData(sparse.csr_matrix(np.array([[0, 0], [1, 3]], dtype=np.float32)))
    assert log_normalize(counts).toarray()[0].tolist() == [0, 0]
