import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Obs, Obsm, Uns, Var, Varm
from scvi_downstream.pipelines.reporting.nodes import join_cells
from scvi_downstream.runtime.errors import InputError

KEYS = Keys(batch_key="batch", label_key="cell_type")
OF_PRIMARY = ("umap", "umap_3d", "clusters", "neighbors")
JOINS = {
    "annotations": Obs(new_only=True),
    "protein_expression": Obs(prefix="protein_"),
    "cell_types": Obs(),
    "trajectory": Obs(),
}


def join(counts, tables, **more):
    given = tables | more
    joins = {name: Obsm(name) for name in given if name.startswith("X_")}
    joins |= {"genes_batch": Var(), "loadings": Varm("ldvae_loadings"), "tests": Uns(), "none": Uns()}
    named = {f"scvi.{name}" if name in OF_PRIMARY else name: table for name, table in given.items()}
    return join_cells(counts, KEYS, "scvi", ("score",), joins=joins | JOINS, given=named)[0]


def test_holds_every_table_in_its_place(counts, tables):
    analysed = join(counts, tables)
    assert set(analysed.obsm) == {"X_umap", "X_umap_3d", "X_scVI", "X_pca"}
    assert list(analysed.obs)[:6] == ["batch", "cell_type", "leiden_0.5", "leiden", "kmeans", "hierarchical"]
    assert {"score", "n_counts"} <= set(analysed.obs)
    np.testing.assert_array_equal(analysed.obsm["X_scVI"], tables["X_scVI"].to_numpy())
    np.testing.assert_array_equal(analysed.X.toarray(), counts.X.toarray())
    assert analysed.uns["primary_model"] == "scvi"
    assert analysed.uns["neighbors"]["params"]["use_rep"] == "X_scVI"


def test_tables_in_another_order_are_joined_by_name(counts, tables):
    expected = join(counts, tables)
    order = np.random.default_rng(0).permutation(len(tables["umap"]))
    shuffled = {name: table.iloc[order] for name, table in tables.items() if isinstance(table, pd.DataFrame)}
    analysed = join(counts, tables, **shuffled)
    pd.testing.assert_frame_equal(analysed.obs, expected.obs)
    for name in expected.obsm:
        np.testing.assert_array_equal(analysed.obsm[name], expected.obsm[name])


def test_graph_in_another_order_is_joined_by_name(counts, tables):
    expected = join(counts, tables)
    order = np.random.default_rng(1).permutation(counts.n_obs)
    reordered = join(counts[order].copy(), tables)[counts.obs_names]
    for name in ("connectivities", "distances"):
        difference = reordered.obsp[name] - expected.obsp[name]
        assert abs(difference).max() == 0
    assert reordered.uns["neighbors"] == expected.uns["neighbors"]


def test_scanpy_works_on_its_graph(counts, tables):
    import scanpy as sc

    analysed = join(counts, tables)
    assert (analysed.obsp["distances"].getnnz(axis=1) == 5).all()
    sc.tl.diffmap(analysed, n_comps=4)
    sc.tl.leiden(analysed, flavor="igraph", n_iterations=2, directed=False, key_added="again")
    assert len(analysed.obs["again"].cat.categories) > 1


def test_cellxgene_can_open_it(counts, tables, tmp_path):
    join(counts, tables).write_h5ad(tmp_path / "analysed.h5ad")
    analysed = ad.read_h5ad(tmp_path / "analysed.h5ad")
    assert analysed.obs_names.is_unique
    assert analysed.var_names.is_unique
    for name, embedding in analysed.obsm.items():
        assert name.startswith("X_")
        assert embedding.shape[1] >= 2
        assert np.isfinite(embedding).all()
    for name, column in analysed.obs.items():
        assert "/" not in name
        if isinstance(column.dtype, pd.CategoricalDtype):
            assert all(isinstance(category, str) for category in column.cat.categories)
            colors = analysed.uns[f"{name}_colors"]
            assert len(colors) == len(column.cat.categories)
            assert all(color.startswith("#") and len(color) == 7 for color in colors)
        else:
            assert column.dtype.kind in "biuf"
    labels = analysed.obs["cell_type"].cat.categories
    assert analysed.uns["cell_type_colors"][labels.get_loc("unknown")] == "#BBBBBB"


def test_inputs_stay_as_they_are(counts, tables):
    before = counts.copy()
    frames = {name: table.copy() for name, table in tables.items() if isinstance(table, pd.DataFrame)}
    analysed = join(counts, tables)
    analysed.obsp["connectivities"].data[:] = 0
    analysed.obs["batch"] = "none"
    pd.testing.assert_frame_equal(counts.obs, before.obs)
    assert not counts.obsm
    assert not counts.uns
    assert tables["neighbors"].connectivities.max() > 0
    for name, table in frames.items():
        pd.testing.assert_frame_equal(tables[name], table)


def test_columns_of_more_tables_join_obs(counts, tables, cells):
    cell_types = pd.DataFrame({"predicted": ["B", "T"] * 30, "certain": [True, False] * 30}, index=cells)
    analysed = join(counts, tables, cell_types=cell_types)
    assert analysed.obs["predicted"].tolist() == ["B", "T"] * 30
    assert analysed.obs["predicted"].dtype == "category"
    assert analysed.obs["certain"].dtype == bool


def test_two_tables_with_one_column_are_refused(counts, tables, cells):
    with pytest.raises(InputError, match="trajectory and clusters both hold a column 'kmeans'"):
        join(counts, tables, trajectory=pd.DataFrame({"kmeans": 1.0}, index=cells))


def test_column_of_the_user_gives_way_and_is_kept(counts, tables, caplog):
    counts.obs["leiden"] = "old"
    with caplog.at_level(logging.WARNING):
        analysed = join(counts, tables)
    assert (analysed.obs["input_leiden"] == "old").all()
    assert analysed.obs["leiden"].tolist() == tables["clusters"]["leiden"].tolist()
    assert "input_leiden" in caplog.text


@pytest.mark.parametrize("name", ["umap", "clusters", "qc_metrics", "X_scVI"])
def test_other_cells_are_refused_by_table_and_number(counts, tables, name):
    with pytest.raises(InputError) as error:
        join(counts, tables, **{name: tables[name].iloc[3:]})
    assert "3 of 60 are missing" in str(error.value)
    assert (name if name not in ("umap",) else "X_umap") in str(error.value)


def test_other_cells_in_the_graph_are_refused(counts, tables):
    kept = counts[:50].copy()
    per_cell = {name: table.iloc[:50] for name, table in tables.items() if isinstance(table, pd.DataFrame)}
    with pytest.raises(InputError, match=r"cells of neighbors.*10 are not in counts"):
        join(kept, tables, **per_cell)


def test_doubled_cells_are_refused(counts, tables):
    with pytest.raises(InputError, match="clusters holds 1 cells twice, such as 'cell0'"):
        join(counts, tables, clusters=pd.concat([tables["clusters"], tables["clusters"].iloc[:1]]))


def test_embedding_with_nan_is_refused(counts, tables):
    broken = tables["X_scVI"].copy()
    broken.iloc[4, 1] = np.nan
    with pytest.raises(InputError, match="X_scVI holds NaN"):
        join(counts, tables, X_scVI=broken)


def test_awkward_columns_become_viewable(counts, tables):
    counts.obs["a/b"] = pd.array([1, None] * 30, dtype="Int64")
    counts.obs["day"] = pd.Categorical([1, 2] * 30, ordered=True)
    counts.obs["note"] = ["x", None] * 30
    analysed = join(counts, tables)
    assert analysed.obs["a_b"].dtype == np.float64
    assert analysed.obs["a_b"].isna().sum() == 30
    assert list(analysed.obs["day"].cat.categories) == ["1", "2"]
    assert list(analysed.obs["note"].cat.categories) == ["x"]


def test_tables_by_gene_go_to_var_and_varm(counts, tables):
    some = pd.DataFrame({"gene": ["gene3", "gene0"], "batch_variance": [0.5, 0.25]})
    loadings = pd.DataFrame({"factor_1": [1.0], "factor_2": [2.0]}, index=["gene5"])
    analysed = join(counts, tables, genes_batch=some, loadings=loadings)
    assert analysed.var.loc[["gene0", "gene3"], "batch_variance"].tolist() == [0.25, 0.5]
    assert analysed.var["batch_variance"].isna().sum() == counts.n_vars - 2
    np.testing.assert_array_equal(analysed.varm["ldvae_loadings"][5], [1, 2])
    assert "batch_variance" not in counts.var


def test_tables_of_other_genes_are_refused(counts, tables):
    with pytest.raises(InputError, match="genes_batch holds genes that are not in counts, such as 'other'"):
        join(counts, tables, genes_batch=pd.DataFrame({"variance": [1.0]}, index=["other"]))


def test_a_gene_column_that_is_there_is_not_overwritten(counts, tables):
    with pytest.raises(InputError, match="var already holds a column 'highly_variable'"):
        join(counts, tables, genes_batch=pd.DataFrame({"highly_variable": [1.0]}, index=["gene1"]))


def test_other_results_go_to_uns_and_come_back(counts, tables, tmp_path):
    tests = pd.DataFrame({"covariate": ["phase", None], "p": [0.01, np.nan], "called": [True, False]})
    join(counts, tables, tests=tests, none=tests.iloc[:0]).write_h5ad(tmp_path / "analysed.h5ad")
    again = ad.read_h5ad(tmp_path / "analysed.h5ad")
    assert again.uns["tests"]["p"].iloc[0] == 0.01
    assert again.uns["tests"]["covariate"].astype(object).iloc[0] == "phase"
    assert "none" not in again.uns
