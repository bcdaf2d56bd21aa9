from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.start import (
    Start,
    choose_start,
    describe_start,
    known_time,
    root_cell,
)
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

N_CELLS = 300


@pytest.fixture(scope="module")
def time() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.linspace(0, 1, N_CELLS))


@pytest.fixture(scope="module")
def counts(time: np.ndarray) -> AnnData:
    """Cells on a line with a gene of its beginning, one of both ends, one of noise, and one without counts."""
    from anndata import AnnData

    rng = np.random.default_rng(1)
    means = np.column_stack(
        [
            8 * (1 - time),
            6 * np.exp(-((time / 0.12) ** 2)) + 6.6 * np.exp(-(((1 - time) / 0.12) ** 2)),
            np.full(N_CELLS, 1.0),
            np.zeros(N_CELLS),
            np.full(N_CELLS, 200.0),
        ]
    )
    obs = pd.DataFrame(
        {
            "hours": time * 10,
            "label": pd.Categorical(np.where(time < 0.2, "stem", "mature")),
            "day": pd.Categorical(np.where(time < 0.3, "2", np.where(time < 0.6, "4", "10"))),
            "sex": pd.Categorical(np.where(time < 0.5, "f", "m")),
            "binary": np.where(time < 0.5, 0.0, 1.0),
        },
        index=[f"cell_{i}" for i in range(N_CELLS)],
    )
    obs.loc[obs.index[:60], "hours"] = np.nan
    var = pd.DataFrame(
        {"symbol": ["SOX2", "BOTH", "NOISE", "NONE", "ACTB"]}, index=["g1", "g2", "g3", "g4", "g5"]
    )
    return AnnData(sparse.csr_matrix(rng.poisson(means).astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def latent(time: np.ndarray) -> np.ndarray:
    return np.column_stack([10 * time, np.random.default_rng(2).normal(0, 0.1, (N_CELLS, 2))])


@pytest.fixture(scope="module")
def neighbors(latent: np.ndarray, counts: AnnData) -> NeighborsGraph:
    return neighbors_graph(counts.obs_names, latent, n_neighbors=15, n_search=15, exact_up_to=1000, seed=0)


@pytest.fixture(scope="module")
def clusters(time: np.ndarray, counts: AnnData) -> pd.Series:
    return pd.Series(pd.Categorical((time * 5).astype(int).clip(0, 4).astype(str)), index=counts.obs_names)


def test_a_cell_is_a_start(counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series) -> None:
    start = choose_start(counts, neighbors, clusters, start_cell="cell_7")
    assert start.cells.tolist() == ["cell_7"]
    assert start.how == "cell"
    assert describe_start(start)["cells"] == ["cell_7"]


def test_a_cluster_and_a_label_are_starts(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    by_cluster = choose_start(counts, neighbors, clusters, start_cluster="0", label_key="label")
    by_label = choose_start(counts, neighbors, clusters, start_cluster="stem", label_key="label")
    assert set(by_cluster.cells) == set(clusters.index[clusters == "0"])
    assert set(by_label.cells) == set(counts.obs_names[time < 0.2])


def test_a_cluster_goes_before_a_label_of_the_same_name(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    start = choose_start(counts, neighbors, clusters, start_cluster="4", label_key="day")
    assert set(start.cells) == set(clusters.index[clusters == "4"])
    assert "also a value of day" in start.sentences[0]


@pytest.mark.parametrize("gene", ["g1", "SOX2"])
def test_a_marker_gene_finds_the_beginning(
    gene: str, counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    start = choose_start(counts, neighbors, clusters, start_gene=gene)
    assert len(start.sentences) == 1
    assert 5 <= len(start.cells) <= 10
    assert time[counts.obs_names.get_indexer(start.cells)].max() < 0.2


def test_a_gene_of_two_places_starts_in_one_patch(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    start = choose_start(counts, neighbors, clusters, start_gene="g2", top_share=0.15)
    chosen = time[counts.obs_names.get_indexer(start.cells)]
    assert np.ptp(chosen) < 0.3
    assert "places that are not neighbours" in start.sentences[1]


def test_a_gene_of_noise_is_an_arbitrary_start(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    start = choose_start(counts, neighbors, clusters, start_gene="g3")
    assert "arbitrary" in start.sentences[-1]
    again = choose_start(counts, neighbors, clusters, start_gene="g3")
    assert start.cells.equals(again.cells)


def test_the_earliest_cells_are_a_start(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    start = choose_start(counts, neighbors, clusters, time_key="hours", earliest_share=0.1)
    hours = counts.obs["hours"]
    assert len(start.cells) == 24
    assert set(start.cells) == set(hours.nsmallest(24).index)
    assert "missing in 60 of 300 cells" in start.sentences[1]


def test_time_points_are_taken_whole(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    start = choose_start(counts, neighbors, clusters, time_key="day")
    assert set(start.cells) == set(counts.obs_names[time < 0.3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "none of them is given"),
        (
            {"start_cell": "cell_1", "time_key": "hours"},
            "start_cell='cell_1' and trajectory.time_key='hours'",
        ),
        ({"start_cell": "cel_1"}, "the closest is 'cell_1'"),
        ({"start_cluster": "sten"}, "the closest is 'stem'"),
        ({"start_gene": "SOX3"}, "the closest is 'SOX2'"),
        ({"start_gene": "g4"}, "no counts in any cell"),
        ({"time_key": "hour"}, "the closest is 'hours'"),
        ({"time_key": "sex"}, "holds 'f', which is not a number"),
        ({"time_key": "binary"}, "2 different numbers"),
    ],
)
def test_a_start_that_cannot_be_is_one_clear_message(
    options: dict[str, str],
    message: str,
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.Series,
) -> None:
    with pytest.raises(InputError) as raised:
        choose_start(counts, neighbors, clusters, label_key="label", **options)
    assert message in str(raised.value)
    assert "trajectory." in str(raised.value)


def test_dates_and_truths_are_no_times() -> None:
    table = pd.DataFrame({"date": pd.to_datetime(["2020-01-01"] * 4), "late": [True, False, True, False]})
    for name in table:
        with pytest.raises(InputError, match=f"'{name}' holds"):
            known_time(table, str(name))


@given(
    st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), min_size=3).filter(
        lambda v: len({x for x in v if x is not None}) >= 3
    )
)
@settings(max_examples=30, deadline=None)
def test_numbers_kept_as_text_are_the_same_times(values: list[int | None]) -> None:
    numbers = pd.Series([np.nan if v is None else float(v) for v in values])
    texts = pd.Series([None if v is None else str(v) for v in values], dtype=object)
    table = pd.DataFrame({"number": numbers, "text": texts, "category": pd.Categorical(texts)})
    for name in table:
        pd.testing.assert_series_equal(known_time(table, str(name)), numbers, check_names=False)


def test_the_root_is_the_outermost_start_cell(
    latent: np.ndarray, neighbors: NeighborsGraph, time: np.ndarray
) -> None:
    starts = np.flatnonzero(time < 0.25)
    root = root_cell(starts, latent, neighbors)
    medoid = starts[np.linalg.norm(latent[starts][:, None] - latent[starts], axis=2).mean(axis=1).argmin()]
    assert time[root] < 0.05 < time[medoid]


def test_a_stray_start_cell_at_the_other_end_is_not_the_root(
    latent: np.ndarray, neighbors: NeighborsGraph, time: np.ndarray
) -> None:
    starts = np.r_[np.flatnonzero(time < 0.15), time.argmax()]
    assert time[root_cell(starts, latent, neighbors)] < 0.1


def test_start_cells_without_coordinates_are_no_root(latent: np.ndarray, neighbors: NeighborsGraph) -> None:
    lost = latent.copy()
    lost[:5] = np.nan
    with pytest.raises(InputError, match="connected"):
        root_cell(np.arange(5), lost, neighbors)
    assert root_cell(np.arange(6), lost, neighbors) == 5


def test_a_start_does_not_depend_on_the_order_of_the_graph(
    counts: AnnData, latent: np.ndarray, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    order = np.random.default_rng(3).permutation(N_CELLS)
    shuffled = neighbors_graph(
        counts.obs_names[order], latent[order], n_neighbors=15, n_search=15, exact_up_to=1000, seed=0
    )
    one: Start = choose_start(counts, neighbors, clusters, start_gene="g1")
    two: Start = choose_start(counts, shuffled, clusters.iloc[order], start_gene="g1")
    assert one.cells.equals(two.cells)
