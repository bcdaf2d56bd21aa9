from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory import start as starts
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.start import choose_start, known_time, reach_from, root_cell
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import Plant

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


def start_of(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.Series,
    *,
    label_key: str | None = None,
    **options: str,
) -> dict[str, Any]:
    """The start by the options of trajectories, with one clustering of the cells."""
    named = defaults_of(TrajectoryOptions, **options | {"clustering": "leiden"})
    keys = Keys(label_key=label_key)
    return choose_start(counts, neighbors, clusters.to_frame("leiden"), keys, named, 0)


def test_a_cell_is_a_start(counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series) -> None:
    start = start_of(counts, neighbors, clusters, start_cell="cell_7")
    assert start["cells"] == ["cell_7"]
    assert start["how"] == "cell"


def test_a_cluster_and_a_label_are_starts(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    by_cluster = start_of(counts, neighbors, clusters, start_cluster="0", label_key="label")
    by_label = start_of(counts, neighbors, clusters, start_cluster="stem", label_key="label")
    assert set(by_cluster["cells"]) == set(clusters.index[clusters == "0"])
    assert set(by_label["cells"]) == set(counts.obs_names[time < 0.2])


def test_a_cluster_goes_before_a_label_of_the_same_name(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    start = start_of(counts, neighbors, clusters, start_cluster="4", label_key="day")
    assert set(start["cells"]) == set(clusters.index[clusters == "4"])
    assert "also a value of day" in start["sentences"][0]


@pytest.mark.parametrize("gene", ["g1", "SOX2"])
def test_a_marker_gene_finds_the_beginning(
    gene: str, counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    start = start_of(counts, neighbors, clusters, start_gene=gene)
    assert len(start["sentences"]) == 1
    assert 5 <= len(start["cells"]) <= 10
    assert time[counts.obs_names.get_indexer(start["cells"])].max() < 0.2


def test_a_gene_of_two_places_starts_in_one_patch(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.Series,
    time: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starts, "START_SHARE", 0.15)
    start = start_of(counts, neighbors, clusters, start_gene="g2")
    chosen = time[counts.obs_names.get_indexer(start["cells"])]
    assert np.ptp(chosen) < 0.3
    assert "places that are not neighbours" in start["sentences"][1]


def test_a_gene_of_noise_is_an_arbitrary_start(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series
) -> None:
    start = start_of(counts, neighbors, clusters, start_gene="g3")
    assert "arbitrary" in start["sentences"][-1]
    again = start_of(counts, neighbors, clusters, start_gene="g3")
    assert start["cells"] == again["cells"]


def test_the_earliest_cells_are_a_start(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "START_SHARE", 0.1)
    start = start_of(counts, neighbors, clusters, time_key="hours")
    hours = counts.obs["hours"]
    assert len(start["cells"]) == 24
    assert set(start["cells"]) == set(hours.nsmallest(24).index)
    assert "missing in 60 of 300 cells" in start["sentences"][1]


def test_time_points_are_taken_whole(
    counts: AnnData, neighbors: NeighborsGraph, clusters: pd.Series, time: np.ndarray
) -> None:
    start = start_of(counts, neighbors, clusters, time_key="day")
    assert set(start["cells"]) == set(counts.obs_names[time < 0.3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "none of them is given"),
        (
            {"start_cell": "cell_1", "start_gene": "g1"},
            "start_cell='cell_1' and trajectory.start_gene='g1'",
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
        start_of(counts, neighbors, clusters, label_key="label", **options)
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
    one = start_of(counts, neighbors, clusters, start_gene="g1")
    two = start_of(counts, shuffled, clusters.iloc[order], start_gene="g1")
    assert one["cells"] == two["cells"]


def blocks(sizes: list[int], seed: int = 0) -> NeighborsGraph:
    """Cells in parts of given sizes, each part a ring."""
    parts = []
    for size in sizes:
        ring = sparse.coo_matrix(
            (np.ones(size), (np.arange(size), (np.arange(size) + 1) % size)), (size, size)
        )
        parts.append(ring + ring.T)
    joined = sparse.csr_matrix(sparse.block_diag(parts))
    order = np.random.default_rng(seed).permutation(sum(sizes))
    n_cells = len(order)
    return NeighborsGraph(
        cells=pd.Index([f"cell_{i}" for i in range(n_cells)]),
        indices=np.arange(n_cells, dtype=np.int32)[:, None],
        distances=np.zeros((n_cells, 1), dtype=np.float32),
        connectivities=joined[order][:, order],
        n_neighbors=1,
        exact=True,
    )


def names_of_parts(graph: NeighborsGraph) -> pd.Series:
    _, codes = sparse.csgraph.connected_components(graph.connectivities, directed=False)
    return pd.Series(pd.Categorical(codes.astype(str)), index=graph.cells)


@given(st.lists(st.integers(10, 40), min_size=1, max_size=5), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_what_is_reached_is_the_part_of_the_start(sizes: list[int], seed: int) -> None:
    graph = blocks(sizes, seed)
    clusters = names_of_parts(graph)
    reach = reach_from(graph, np.array([0]), clusters)
    assert np.array_equal(reach.reachable, (clusters == clusters.iloc[0]).to_numpy())
    assert sorted(np.bincount(reach.parts), reverse=True) == sorted(sizes, reverse=True)
    assert len(reach.sentences) == (len(sizes) > 1)


def test_connected_cells_need_no_sentence() -> None:
    graph = blocks([50])
    reach = reach_from(graph, np.array([3]), names_of_parts(graph))
    assert reach.reachable.all()
    assert reach.sentences == []


def test_what_is_not_connected_is_named() -> None:
    graph = blocks([700, 300, 4, 5])
    clusters = names_of_parts(graph)
    largest = np.flatnonzero(clusters == clusters.value_counts().index[0])
    reach = reach_from(graph, largest[:20], clusters)
    second = clusters.value_counts().index[1]
    assert reach.sentences == [
        f"300 of 1,009 cells (cluster {second}) are not connected to the start: they have no pseudotime",
        "9 of 1,009 cells are outliers, in 2 small groups that are connected to no others: they have no pseudotime",
    ]


def test_start_cells_elsewhere_are_left_out_and_said() -> None:
    graph = blocks([60, 40])
    clusters = names_of_parts(graph)
    in_small = np.flatnonzero(clusters == clusters.value_counts().index[1])
    in_large = np.flatnonzero(clusters == clusters.value_counts().index[0])
    reach = reach_from(graph, np.r_[in_small[:5], in_large[:2]], clusters)
    assert np.array_equal(np.flatnonzero(reach.reachable), in_small)
    assert np.array_equal(reach.starts, in_small[:5])
    assert "2 of 7 start cells" in reach.sentences[-1]


def test_a_start_among_outliers_or_none_is_refused() -> None:
    graph = blocks([800, 5])
    clusters = names_of_parts(graph)
    outlier = np.flatnonzero(clusters == clusters.value_counts().index[1])[:1]
    with pytest.raises(InputError, match="5 of 805 cells that are connected to no others"):
        reach_from(graph, outlier, clusters)
    with pytest.raises(InputError, match="no start cells"):
        reach_from(graph, np.array([], dtype=int), clusters)


def test_a_planted_island_is_found(planted: Plant) -> None:
    island = planted("disconnected")
    graph = neighbors_graph(
        island.clusters.index, island.latent, n_neighbors=15, n_search=15, exact_up_to=1000, seed=0
    )
    reach = reach_from(graph, np.array([island.root_cell]), island.clusters)
    assert np.array_equal(reach.reachable, island.branch == "trunk")
    assert reach.sentences[0].startswith("300 of 600 cells (clusters ")
