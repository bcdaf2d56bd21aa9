from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.models.schedule import batch_size_without_remainder_of_one, epochs_for, split_cells
from scvi_downstream.runtime.errors import InputError


@given(
    n_cells=st.integers(20, 3000),
    train=st.floats(0.2, 0.85),
    validation=st.floats(0.1, 0.15),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_cell_is_in_exactly_one_share(n_cells: int, train: float, validation: float, seed: int) -> None:
    split = split_cells(n_cells, train, validation, seed)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(n_cells))


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="5 cells leave 4 for training and 0 for validation"):
        split_cells(5, 0.8, 0.1, 0)


@given(batch_size=st.integers(3, 500), sizes=st.lists(st.integers(2, 5000), min_size=1, max_size=3))
def test_no_last_mini_batch_of_one_cell(batch_size: int, sizes: list[int]) -> None:
    chosen = batch_size_without_remainder_of_one(batch_size, sizes)
    possible = any(all(size % candidate != 1 for size in sizes) for candidate in range(2, batch_size + 1))
    assert chosen <= batch_size
    assert not possible or all(size % chosen != 1 for size in sizes)


@pytest.mark.slow
def test_shares_are_those_of_scvi_tools() -> None:
    import scvi
    from anndata import AnnData
    from scvi.dataloaders import DataSplitter

    cells = AnnData(np.ones((103, 3), dtype=np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    scvi.settings.seed = 7
    splitter = DataSplitter(scvi.model.SCVI(cells).adata_manager, train_size=0.8, validation_size=0.1)
    splitter.setup()
    split = split_cells(103, 0.8, 0.1, 7)
    assert np.array_equal(split.train, splitter.train_idx)
    assert np.array_equal(split.validation, splitter.val_idx)
    assert np.array_equal(split.test, splitter.test_idx)


def test_epochs_fall_with_the_number_of_cells() -> None:
    assert epochs_for(700) == 400
    assert epochs_for(20_000) == 400
    assert epochs_for(200_000) == 40
    assert epochs_for(10_000_000) == 20


def test_a_tuned_model_is_trained_for_20_epochs_and_of_many_cells_for_10() -> None:
    wanted = {700: 20, 20_000: 20, 30_000: 13, 40_000: 10, 10_000_000: 10}
    assert {n_cells: epochs_for(n_cells, tuned=True) for n_cells in wanted} == wanted
