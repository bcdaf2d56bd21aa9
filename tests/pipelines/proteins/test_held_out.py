from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.proteins.imputation import (
    BATCH_COLUMN,
    FEWEST_CELLS,
    choose_held_out,
    masked_counts,
)
from scvi_downstream.pipelines.proteins.options import ProteinsOptions

from .conftest import KEYS, simulate

if TYPE_CHECKING:
    from anndata import AnnData

TWO = ProteinsOptions(max_held_out_batches=2)


@pytest.fixture
def counts() -> AnnData:
    return simulate(60)


def test_the_smallest_batches_come_first_and_the_others_are_its_sources(counts: AnnData) -> None:
    first, second = choose_held_out(counts, KEYS, TWO, 0)
    assert (first.name, second.name) == ("one", "two")
    assert first.sources == ("two",)
    assert first.kind == "batch"
    np.testing.assert_array_equal(first.cells, counts.obs["batch"] == "one")
    assert [
        each.name for each in choose_held_out(counts, KEYS, ProteinsOptions(max_held_out_batches=1), 0)
    ] == ["one"]
    assert choose_held_out(counts, KEYS, ProteinsOptions(max_held_out_batches=0), 0) == []


def test_only_proteins_of_all_sources_are_scored(counts: AnnData) -> None:
    counts.obsm["protein_expression"].loc[counts.obs["batch"] == "two", "CD3"] = 0
    for each in choose_held_out(counts, KEYS, TWO, 0):
        assert "CD3" not in each.proteins
        assert len(each.proteins) == 5


@pytest.mark.parametrize(
    "keys", [KEYS.model_copy(update={"batch_key": None}), KEYS], ids=["no batches", "one has"]
)
def test_a_random_third_stands_for_a_batch_where_there_is_one(keys: Keys) -> None:
    counts = simulate(120)
    if keys.batch_key:
        counts.obsm["protein_expression"].loc[counts.obs["batch"] == "two"] = 0
    (drawn,) = choose_held_out(counts, keys, TWO, 0)
    assert drawn.kind == "random third"
    with_proteins = counts.obsm["protein_expression"].to_numpy().any(axis=1)
    assert drawn.cells.sum() == with_proteins.sum() // 3
    assert with_proteins[drawn.cells].all()
    told = set(drawn.batches[drawn.cells])
    assert len(told) == 1
    assert not told & set(drawn.batches[~drawn.cells])
    (again,) = choose_held_out(counts, keys, TWO, 0)
    np.testing.assert_array_equal(drawn.cells, again.cells)
    (other,) = choose_held_out(counts, keys, TWO, 1)
    assert (drawn.cells != other.cells).any()


def test_too_few_cells_are_not_held_out() -> None:
    small = simulate(3 * FEWEST_CELLS - 3)
    assert [each.name for each in choose_held_out(small, KEYS, TWO, 0)] == ["two"]
    no_batches = KEYS.model_copy(update={"batch_key": None})
    assert choose_held_out(small, no_batches, TWO, 0) == []


def test_hidden_proteins_are_gone_and_the_rest_is_untouched(counts: AnnData) -> None:
    before = counts.obsm["protein_expression"].copy()
    counts.var["highly_variable"] = np.arange(counts.n_vars) < 10
    (first, _) = choose_held_out(counts, KEYS, TWO, 0)
    genes = masked_counts(counts, first)
    pd.testing.assert_frame_equal(counts.obsm["protein_expression"], before)
    assert BATCH_COLUMN not in counts.obs
    assert genes.n_vars == 10
    hidden = genes.obsm["protein_expression"]
    assert not hidden.loc[first.cells].to_numpy().any()
    pd.testing.assert_frame_equal(hidden.loc[~first.cells], before.loc[~first.cells])
