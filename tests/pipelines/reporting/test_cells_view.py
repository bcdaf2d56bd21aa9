"""The cells of the first screen: what a browser decodes is what the run has found."""

import base64

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from scvi_downstream.pipelines.reporting.cells_view import LEVELS, MOST_CELLS, view_cells


def analysed(obs: pd.DataFrame, umap: np.ndarray | None = None) -> ad.AnnData:
    n = len(obs)
    flat = np.random.default_rng(0).normal(size=(n, 2)) if umap is None else umap
    cells = ad.AnnData(obs=obs)
    cells.obsm["X_umap"] = flat.astype(np.float32)
    cells.obsm["X_umap_3d"] = np.column_stack([flat, np.arange(n)]).astype(np.float32)
    for name, column in obs.select_dtypes("category").items():
        cells.uns[f"{name}_colors"] = [f"#00000{i}" for i in range(len(column.cat.categories))]
    return cells


def decoded(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def obs_of(n: int = 6) -> pd.DataFrame:
    types = pd.Categorical((["T", "B", None] * n)[:n], categories=["B", "T", "absent"])
    return pd.DataFrame(
        {"type": types, "depth": np.arange(n) * 10.0, "flag": [True] * n, "same": "x"},
        index=[f"cell{i}" for i in range(n)],
    ).astype({"same": "category"})


def test_colours_come_in_the_order_asked_for_and_useless_ones_are_left_out():
    shown = view_cells(analysed(obs_of()), ["depth", "type", "flag", "same", "nowhere", "depth"])
    assert [colour["title"] for colour in shown["colours"]] == ["depth", "type"]
    assert shown["names"] == [f"cell{i}" for i in range(6)]
    types = shown["colours"][1]
    assert types["categories"] == [["B", "#000000", 2], ["T", "#000001", 2], ["absent", "#000002", 0]]
    assert decoded(types["values"], "u1").tolist() == [1, 0, 255, 1, 0, 255]


@given(npst.arrays(np.float64, (7, 2), elements=st.floats(-1e4, 1e4, width=32)))
def test_layouts_keep_their_proportions(places: np.ndarray):
    shown = view_cells(analysed(obs_of(7), places), [])
    found = decoded(shown["layouts"]["2"], "<u2").reshape(-1, 2).astype(float)
    longest = np.ptp(places, axis=0).max()
    scale = longest / 65_535 if longest else 1.0
    for i, j in ((0, 1), (2, 6), (3, 5)):
        np.testing.assert_allclose((found[i] - found[j]) * scale, places[i] - places[j], atol=1.1 * scale)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=4, max_size=40))
def test_numbers_keep_their_order_and_missing_ones_are_marked(values: list[float]):
    obs = pd.DataFrame({"depth": values}, index=[f"c{i}" for i in range(len(values))])
    colours = view_cells(analysed(obs), ["depth"])["colours"]
    known = np.isfinite(values)
    if np.unique(np.array(values)[known]).size < 2:
        assert colours == []
        return
    levels = decoded(colours[0]["values"], "u1")
    assert (levels[~known] == 255).all()
    assert levels[known].max() <= LEVELS
    assert (np.diff(levels[known][np.argsort(np.array(values)[known], kind="stable")].astype(int)) >= 0).all()


def test_many_cells_are_a_sample_and_their_number_is_told():
    n = MOST_CELLS + 10
    shown = view_cells(analysed(obs_of(n)), ["type"])
    assert shown["n_cells"] == n
    assert len(shown["names"]) == len(decoded(shown["colours"][0]["values"], "u1")) == MOST_CELLS
    assert sum(size for _, _, size in shown["colours"][0]["categories"]) == pytest.approx(n * 2 / 3, abs=1)
