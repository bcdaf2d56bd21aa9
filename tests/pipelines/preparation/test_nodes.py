from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.nodes import (
    choose_cells_and_genes,
    measure_quality,
    prepare_counts,
)
from scvi_downstream.pipelines.preparation.options import CellFilters, PreparationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

KEYS = Keys(batch_key="batch", label_key="cell_type")
OPTIONS = defaults_of(PreparationOptions)


def refused(raw: ad.AnnData, keys: Keys = KEYS, options: PreparationOptions = OPTIONS) -> str:
    with pytest.raises(InputError) as error:
        prepare_counts(raw, None, keys, options)
    return str(error.value)


def test_counts_keep_the_contract(raw: ad.AnnData) -> None:
    counts, quality, summary = prepare_counts(raw, None, KEYS, OPTIONS)
    assert isinstance(counts.X, sparse.csr_matrix)
    assert counts.X.dtype == np.float32
    assert (counts.X != raw.X).nnz == 0
    assert counts.X is not raw.X
    assert not np.shares_memory(counts.X.data, raw.X.data)
    assert list(counts.obs["batch"].cat.categories) == ["one", "two"]
    assert counts.var["highly_variable"].dtype == bool
    assert list(quality.columns) == ["n_counts", "n_genes", "mitochondrial_percent", "batch"]
    assert quality.index.name == "cell"
    assert list(quality.index) == list(counts.obs_names)
    assert summary["batches"] == {"one": 60, "two": 60}
    assert summary["labels"] == {"B": 40, "NK": 40, "T": 40}
    assert summary["sparsity"] == pytest.approx(1 - raw.X.nnz / raw.X.shape[0] / raw.X.shape[1])
    json.dumps(summary, allow_nan=False)


def test_input_stays_as_it_is(raw: ad.AnnData) -> None:
    raw.layers["scaled"] = raw.X.copy()
    raw.uns["anything"] = {"deep": [1]}
    before = raw.copy()
    counts, _, _ = prepare_counts(raw, None, KEYS, OPTIONS)
    pd.testing.assert_frame_equal(raw.obs, before.obs)
    pd.testing.assert_frame_equal(raw.var, before.var)
    np.testing.assert_array_equal(raw.X.data, before.X.data)
    assert not counts.layers
    assert list(counts.uns) == ["scvi_downstream"]
    assert counts.raw is None


@pytest.mark.thorough
@pytest.mark.parametrize(
    "form", ["csr", "csc", "coo", "dense", "float64", "int32", "uint16", "int64 indices", "array"]
)
def test_every_form_of_the_same_counts_gives_the_same_fingerprint(raw: ad.AnnData, form: str) -> None:
    _, _, expected = prepare_counts(raw, None, KEYS, OPTIONS)
    matrix = raw.X
    forms = {
        "csr": matrix,
        "csc": matrix.tocsc(),
        "coo": matrix.tocoo().tocsr(),
        "dense": matrix.toarray(),
        "float64": matrix.astype(np.float64),
        "int32": matrix.astype(np.int32),
        "uint16": matrix.astype(np.uint16),
        "int64 indices": _with_long_indices(matrix),
        "array": sparse.csr_array(matrix),
    }
    other = ad.AnnData(forms[form], obs=raw.obs, var=raw.var)
    counts, _, summary = prepare_counts(other, None, KEYS, OPTIONS)
    assert summary["data_fingerprint"] == expected["data_fingerprint"]
    assert isinstance(counts.X, sparse.csr_matrix)
    assert counts.X.dtype == np.float32


def _with_long_indices(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    long = matrix.copy()
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    return long


def test_one_other_count_gives_another_fingerprint(raw: ad.AnnData) -> None:
    _, _, before = prepare_counts(raw, None, KEYS, OPTIONS)
    raw.X.data[5] += 1
    _, _, after = prepare_counts(raw, None, KEYS, OPTIONS)
    assert before["data_fingerprint"] != after["data_fingerprint"]


def test_views_and_backed_files_are_read(raw: ad.AnnData, tmp_path: Path) -> None:
    _, _, expected = prepare_counts(raw[:100].copy(), None, KEYS, OPTIONS)
    _, _, of_view = prepare_counts(raw[:100], None, KEYS, OPTIONS)
    assert of_view["data_fingerprint"] == expected["data_fingerprint"]
    for name, matrix in (("sparse", raw.X), ("dense", raw.X.toarray())):
        path = tmp_path / f"{name}.h5ad"
        ad.AnnData(matrix, obs=raw.obs, var=raw.var)[:100].copy().write_h5ad(path)
        backed = ad.read_h5ad(path, backed="r")
        _, _, of_file = prepare_counts(backed, None, KEYS, OPTIONS)
        backed.file.close()
        assert of_file["data_fingerprint"] == expected["data_fingerprint"]


def test_counts_come_from_a_layer_or_the_raw_slot(raw: ad.AnnData) -> None:
    _, _, expected = prepare_counts(raw, None, KEYS, OPTIONS)
    raw.layers["counts"] = raw.X.copy()
    raw.raw = raw.copy()
    raw.X = raw.X.log1p()
    small = raw[:, :40].copy()
    for layer in ("counts", "raw"):
        _, _, summary = prepare_counts(raw, None, KEYS.model_copy(update={"counts_layer": layer}), OPTIONS)
        assert summary["data_fingerprint"] == expected["data_fingerprint"]
    of_raw, _, _ = prepare_counts(small, None, KEYS.model_copy(update={"counts_layer": "raw"}), OPTIONS)
    assert of_raw.n_vars == raw.n_vars


def test_normalised_data_are_refused_and_the_right_slot_is_named(raw: ad.AnnData) -> None:
    normalised = raw.X.log1p()
    counted = raw.copy()
    raw.X = normalised
    message = refused(raw)
    assert "X does not hold raw counts" in message
    assert "not an integer" in message
    assert "no layer holds integer counts: bring raw counts" in message

    raw.layers["counts"] = counted.X
    raw.layers["lognorm"] = normalised
    assert "layers['counts'] holds integer counts: set counts_layer=counts" in refused(raw)
    message = refused(raw, KEYS.model_copy(update={"counts_layer": "lognorm"}))
    assert message.startswith("layers['lognorm'] does not hold raw counts")

    del raw.layers["counts"]
    raw.raw = counted
    assert "raw.X holds integer counts: set counts_layer=raw" in refused(raw)

    counted.layers["lognorm"] = normalised
    assert "X holds integer counts: leave counts_layer empty" in refused(
        counted, KEYS.model_copy(update={"counts_layer": "lognorm"})
    )


@pytest.mark.parametrize(
    ("bad", "problem"), [(np.nan, "NaN"), (-3, "negative"), (np.inf, "infinite"), (2**25, "too large")]
)
def test_a_bad_value_is_named_with_cell_and_gene(raw: ad.AnnData, bad: float, problem: str) -> None:
    dense = raw.X.toarray()
    dense[117, 41] = bad
    raw.X = sparse.csr_matrix(dense)
    message = refused(raw)
    assert problem in message
    assert "cell 'cell117' and gene 'GENE41'" in message
    assert "1 of " in message


def test_all_zero_is_refused(raw: ad.AnnData) -> None:
    raw.X = sparse.csr_matrix(raw.shape, dtype=np.float32)
    assert "all values of X are zero" in refused(raw)


def test_misspelt_layer_gets_the_closest(raw: ad.AnnData) -> None:
    raw.layers["counts"] = raw.X.copy()
    assert "counts_layer 'count' is not a layer of the input; the closest is 'counts'" in refused(
        raw, KEYS.model_copy(update={"counts_layer": "count"})
    )


def test_duplicated_names_are_refused(raw: ad.AnnData) -> None:
    cells, genes = raw.obs_names.tolist(), raw.var_names.tolist()
    raw.obs_names = [*cells[:-1], cells[0]]
    assert "1 cell names occur more than once, first 'cell0'" in refused(raw)
    raw.obs_names = cells
    raw.var_names = [*genes[:-2], genes[3], genes[3]]
    message = refused(raw)
    assert "first 'GENE3'" in message
    assert "var_names_make_unique" in message


def test_too_few_cells_or_genes_are_refused(raw: ad.AnnData) -> None:
    assert "the data hold 20 cells, and a model needs at least 50" in refused(raw[:20].copy())
    assert "the data hold 1 gene, and a model needs at least 10" in refused(raw[:, :1].copy())
    assert "preparation.min_cells" in refused(raw[:20].copy())
    counts, _, _ = prepare_counts(
        raw[:20].copy(), None, Keys(), defaults_of(PreparationOptions, min_cells=20)
    )
    assert counts.n_obs == 20


def test_empty_cells_and_genes_are_dropped_and_counted(raw: ad.AnnData) -> None:
    dense = raw.X.toarray()
    dense[[3, 7]] = 0
    dense[:, 5] = 0
    raw.X = sparse.csr_matrix(dense)
    counts, quality, summary = prepare_counts(raw, None, KEYS, OPTIONS)
    assert counts.shape == (118, 59)
    assert "cell3" not in counts.obs_names
    assert "GENE5" not in counts.var_names
    assert len(quality) == 118
    assert summary["dropped"]["empty_cells"] == 2
    assert summary["dropped"]["empty_genes"] == 1
    assert (summary["n_cells_raw"], summary["n_genes_raw"]) == (120, 60)


def test_filters_say_what_each_removed(raw: ad.AnnData) -> None:
    totals = np.asarray(raw.X.sum(axis=1)).ravel()
    low, high = int(np.quantile(totals, 0.1)), int(np.quantile(totals, 0.8))
    options = defaults_of(
        PreparationOptions, filters={"min_counts": low, "max_counts": high, "min_cells_per_gene": 60}
    )
    counts, quality, summary = prepare_counts(raw, None, KEYS, options)
    kept = (totals >= low) & (totals <= high)
    assert summary["filters"]["min_counts"] == {"threshold": low, "removed": int((totals < low).sum())}
    assert summary["filters"]["max_counts"] == {"threshold": high, "removed": int((totals > high).sum())}
    assert list(counts.obs_names) == list(raw.obs_names[kept])
    np.testing.assert_array_equal(quality["n_counts"], totals[kept])
    expected_genes = np.asarray((raw.X[kept] > 0).sum(axis=0)).ravel() >= 60
    assert list(counts.var_names) == list(raw.var_names[expected_genes])


def test_a_filter_that_leaves_nothing_is_named(raw: ad.AnnData) -> None:
    message = refused(
        raw, options=defaults_of(PreparationOptions, filters={"min_counts": 100_000, "min_genes": 2})
    )
    assert "preparation.filters.min_counts=100000 alone removes 120 of 120 cells" in message
    message = refused(raw, options=defaults_of(PreparationOptions, filters={"min_cells_per_gene": 500}))
    assert "preparation.filters.min_cells_per_gene=500 alone removes 60 of 60 genes" in message


def test_too_few_cells_after_filters(raw: ad.AnnData) -> None:
    limit = int(np.quantile(np.asarray(raw.X.sum(axis=1)), 0.8))
    message = refused(raw, options=defaults_of(PreparationOptions, filters={"min_counts": limit}))
    assert "cells after filtering, and a model needs at least 50" in message


@pytest.mark.thorough
def test_prepared_counts_survive_the_disk(raw: ad.AnnData, tmp_path: Path) -> None:
    raw.obs["mixed"] = pd.Series([1, "two", None, 4.5] * 30, index=raw.obs_names, dtype=object)
    raw.obs["when"] = pd.Timestamp("2024-01-01")
    raw.obs["nullable"] = pd.array([1, None] * 60, dtype="Int64")
    raw.obs["interval"] = pd.cut(raw.obs["age"], 3)
    raw.obs["name/with slash"] = "x"
    raw.obs["_index"] = range(120)
    raw.obs.index.name = "donor"
    raw.var["flags"] = pd.array([True, None] * 30, dtype="boolean")
    raw.obsm["protein_expression"] = pd.DataFrame({"CD3": np.arange(120)}, index=raw.obs_names)
    raw.obsm["X_pca"] = np.zeros((120, 2))
    keys = Keys(batch_key="batch", label_key="cell_type", sample_key="donor", continuous_covariates=("age",))
    counts, _, _ = prepare_counts(raw, None, keys, OPTIONS)
    assert list(counts.obsm) == ["protein_expression"]
    for path, read in ((tmp_path / "counts.h5ad", ad.read_h5ad), (tmp_path / "counts.zarr", ad.read_zarr)):
        (counts.copy().write_h5ad if path.suffix == ".h5ad" else counts.copy().write_zarr)(path)
        loaded = read(path)
        assert (loaded.X != counts.X).nnz == 0
        assert list(loaded.obs_names) == list(raw.obs_names)
        assert list(loaded.obs["mixed"].cat.categories) == ["1", "4.5", "two"]
        assert loaded.uns["scvi_downstream"]["keys"]["batch_key"] == "batch"
        assert loaded.obs["batch"].astype(str).tolist() == raw.obs["batch"].tolist()


def test_counts_that_look_scaled_or_binarised_are_warned_about(raw: ad.AnnData) -> None:
    binary = raw.copy()
    binary.X = (raw.X > 0).astype(np.float32)
    _, _, summary = prepare_counts(binary, None, KEYS, OPTIONS)
    assert any("binarised" in sentence for sentence in summary["warnings"])
    dense = raw.X.toarray()
    dense[:, 0] += 1000 - dense.sum(axis=1)
    raw.X = sparse.csr_matrix(dense)
    _, _, summary = prepare_counts(raw, None, KEYS, OPTIONS)
    assert any("scaled to one total" in sentence for sentence in summary["warnings"])


def test_metadata_can_bring_the_keys(raw: ad.AnnData) -> None:
    table = pd.DataFrame({"cell": raw.obs_names[::-1], "tissue": np.repeat(["liver", "lung"], 60)})
    keys = Keys(batch_key="batch", condition_key="tissue")
    counts, _, summary = prepare_counts(raw, table, keys, OPTIONS)
    assert counts.obs["tissue"].tolist() == ["lung"] * 60 + ["liver"] * 60
    assert summary["conditions"] == {"liver": 60, "lung": 60}
    assert summary["metadata"]["columns"] == ["tissue"]
    assert any("confounded" in sentence for sentence in summary["warnings"])


def test_demonstration_counts(pbmc_counts: ad.AnnData) -> None:
    assert pbmc_counts.shape == (700, 765)
    assert pbmc_counts.X.nnz / 700 / 765 == pytest.approx(0.3257, abs=1e-3)
    assert (pbmc_counts.X.data == np.rint(pbmc_counts.X.data)).all()
    assert pbmc_counts.var["highly_variable"].sum() == 300


PREFIXES = ("MT-", "mt-")


def test_metrics_are_those_of_scanpy(raw: ad.AnnData) -> None:
    import scanpy as sc

    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    raw.var["mt"] = raw.var_names.str.startswith("MT-")
    expected, _ = sc.pp.calculate_qc_metrics(raw, qc_vars=["mt"], percent_top=None, log1p=False)
    np.testing.assert_array_equal(quality["n_counts"], expected["total_counts"])
    np.testing.assert_array_equal(quality["n_genes"], expected["n_genes_by_counts"])
    np.testing.assert_allclose(quality["mitochondrial_percent"], expected["pct_counts_mt"], rtol=1e-5)


def test_no_mitochondrial_gene_is_no_zero_percent(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, pd.Index([f"g{i}" for i in range(60)]), PREFIXES)
    assert quality["mitochondrial_percent"].isna().all()
    with pytest.raises(InputError, match="max_mitochondrial_percent is set, but no gene symbol begins with"):
        choose_cells_and_genes(raw.X, quality, defaults_of(CellFilters, max_mitochondrial_percent=5))


def test_mitochondrial_filter(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    limit = float(quality["mitochondrial_percent"].median())
    kept = choose_cells_and_genes(raw.X, quality, defaults_of(CellFilters, max_mitochondrial_percent=limit))
    np.testing.assert_array_equal(kept.cells, quality["mitochondrial_percent"] <= limit)
    assert kept.filters["max_mitochondrial_percent"]["removed"] == kept.dropped["filtered_cells"]


def test_both_ends_of_a_filter_are_kept(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    low, high = int(quality["n_genes"].min()), int(quality["n_genes"].max())
    kept = choose_cells_and_genes(raw.X, quality, defaults_of(CellFilters, min_genes=low, max_genes=high))
    assert kept.cells.all()


def test_cells_left_without_counts_by_the_gene_filter_are_dropped() -> None:
    from scipy import sparse

    counts = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 5]], dtype=np.float32))
    quality = measure_quality(counts, pd.Index(list("abc")), pd.Index(["x", "y", "z"]), PREFIXES)
    kept = choose_cells_and_genes(counts, quality, defaults_of(CellFilters, min_cells_per_gene=2))
    assert kept.cells.tolist() == [True, True, False]
    assert kept.genes.tolist() == [True, True, False]
    assert kept.dropped["emptied_cells"] == 1


def test_the_design_is_described_and_logged_before_anything_is_trained(raw: ad.AnnData, caplog) -> None:
    raw.obs["sample"] = np.repeat([f"s{i}" for i in range(6)], 20)
    raw.obs["treatment"] = np.repeat(["none", "drug"] * 3, 20)
    raw.obs["patient"] = np.repeat(["p1", "p2", "p3"], 40)
    keys = Keys(batch_key="patient", sample_key="sample", condition_key="treatment")
    with caplog.at_level("INFO"):
        _, _, summary = prepare_counts(raw, None, keys, OPTIONS)
    assert summary["design"]["block"] == "patient"
    first = "6 samples of 'sample' (3 of 'drug', 3 of 'none') in 3 blocks of 'patient'"
    assert summary["design"]["sentences"][0] == first
    assert f"design: {first}" in caplog.messages
    json.dumps(summary["design"])
    raw.obs["patient"] = raw.obs["treatment"]
    with caplog.at_level("WARNING"):
        _, _, summary = prepare_counts(
            raw, None, Keys(**keys.model_dump() | {"batch_key": "patient"}), OPTIONS
        )
    assert any("no test can tell the two apart" in message for message in caplog.messages)
