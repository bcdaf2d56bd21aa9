from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scvi_downstream.pipelines.preparation import validation as values_module
from scvi_downstream.pipelines.preparation.validation import PROBLEMS, as_counts, check_values, locate

FORMATS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
INTEGERS = st.integers(0, 2**24)


@settings(deadline=None)
@given(
    dense=hnp.arrays(np.int64, SHAPES, elements=INTEGERS),
    dtype=st.sampled_from(["int32", "int64", "uint32", "float32", "float64"]),
    form=st.sampled_from(sorted(FORMATS)),
)
def test_any_integer_matrix_passes_and_comes_back_unchanged(dense: np.ndarray, dtype: str, form: str) -> None:
    matrix = FORMATS[form](dense.astype(dtype))
    check = check_values(matrix)
    assert not any(check.n_bad)
    assert check.total == dense.sum()
    counts = as_counts(matrix)
    assert counts.format == "csr"
    assert counts.dtype == np.float32
    assert counts.has_canonical_format
    assert counts.data.all()
    np.testing.assert_array_equal(counts.toarray(), dense)


@settings(deadline=None)
@given(
    dense=hnp.arrays(np.float64, SHAPES, elements=st.integers(0, 50).map(float)),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -0.5, 0.5, 3.0001, 2.0**24 + 2]),
    form=st.sampled_from(sorted(FORMATS)),
    chunk=st.integers(1, 40),
    data=st.data(),
)
def test_one_bad_value_is_found_wherever_it_is(
    dense: np.ndarray, bad: float, form: str, chunk: int, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, dense.shape[0] - 1))
    column = data.draw(st.integers(0, dense.shape[1] - 1))
    dense[row, column] = bad
    matrix = FORMATS[form](dense)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values_module, "CHUNK_VALUES", chunk)
        check = check_values(matrix)
    assert sum(check.n_bad) == 1
    position = next(i for i, number in enumerate(check.n_bad) if number)
    value, cell, gene = locate(matrix, check.first[position])
    assert (cell, gene) == (row, column)
    np.testing.assert_equal(value, bad)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (np.nan, "NaN"),
        (np.inf, "infinite"),
        (-2.0, "negative"),
        (1.5, "not an integer"),
        (2.0**25, "too large for float32"),
    ],
)
def test_each_problem_has_its_name(bad: float, problem: str) -> None:
    check = check_values(np.array([[1.0, bad], [0.0, 2.0]]))
    assert [name for name, number in zip(PROBLEMS, check.n_bad, strict=True) if number] == [problem]


def test_unordered_duplicated_and_stored_zero_entries_become_canonical() -> None:
    matrix = sparse.csr_matrix(
        (np.array([2.0, 0.0, 1.0, 3.0]), np.array([2, 1, 2, 0]), np.array([0, 3, 4])), shape=(2, 3)
    )
    counts = as_counts(matrix)
    np.testing.assert_array_equal(counts.toarray(), [[0, 0, 3], [3, 0, 0]])
    assert counts.nnz == 2
    np.testing.assert_array_equal(matrix.data, [2.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(matrix.indices, [2, 1, 2, 0])
