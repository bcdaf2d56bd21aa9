from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import sparse

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.diffusion import diffusion_coordinates, diffusion_pseudotime
from scvi_downstream.pipelines.trajectory.fates import absorb, compute_fates, directed_walk, fate_drivers
from scvi_downstream.pipelines.trajectory.options import FateOptions
from scvi_downstream.pipelines.trajectory.start import reach_from, root_cell
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import Kind, Plant, Planted, ReferenceComponents, graph_of, pseudotime_of


def order_of(graph: NeighborsGraph, cells: Planted) -> pd.Series:
    return pd.Series(pseudotime_of(graph, cells.root_cell), index=cells.clusters.index)


def probabilities_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["fate_entropy", "terminal_state"])


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "n_tips"), [("bifurcating", 2), ("three_way", 3)])
def test_terminal_states_are_the_planted_tips(kind: Kind, n_tips: int, planted: Plant) -> None:
    for seed in range(3):
        tree = planted(kind, seed=seed)
        graph = graph_of(tree.latent)
        fates = compute_fates(graph, order_of(graph, tree), tree.clusters, defaults_of(FateOptions))
        probabilities = probabilities_of(fates.cells)
        assert probabilities.shape[1] == n_tips
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        state = fates.cells["terminal_state"]
        assert set(tree.branch[state.notna()]) == set(tree.branch) - {"trunk"}
        for name in state.cat.categories:
            (branch,) = set(tree.branch[state == name])
            tip = (tree.branch == branch) & (tree.time > 0.9)
            assert probabilities.loc[tip, f"fate_{name}"].quantile(0.05) > 0.9
        early = tree.time < 0.2
        assert probabilities[early].max(axis=1).max() < 0.75
        assert fates.cells.loc[early, "fate_entropy"].mean() > 0.9
        assert fates.cells.loc[tree.time > 0.9, "fate_entropy"].median() < 0.1


def test_a_line_has_one_fate_and_says_so(planted: Plant) -> None:
    line = planted("linear")
    graph = graph_of(line.latent)
    fates = compute_fates(graph, order_of(graph, line), line.clusters, defaults_of(FateOptions))
    assert (probabilities_of(fates.cells) == 1).all().all()
    assert (fates.cells["fate_entropy"] == 0).all()
    assert np.median(line.time[fates.cells["terminal_state"].notna()]) > 0.9
    assert "say nothing here" in fates.sentences[0]


def test_an_island_has_no_fate(planted: Plant) -> None:
    island = planted("disconnected")
    graph = graph_of(island.latent)
    fates = compute_fates(graph, order_of(graph, island), island.clusters, defaults_of(FateOptions))
    assert np.array_equal(fates.cells.iloc[:, 0].isna(), island.branch == "island")
    with_times = pd.Series(island.time + (island.branch == "island"), index=island.clusters.index)
    again = compute_fates(graph, with_times, island.clusters, defaults_of(FateOptions))
    assert np.array_equal(again.cells.iloc[:, 0].isna(), island.branch == "island")
    assert "300 cells with a pseudotime are not connected" in again.sentences[-1]


def test_given_clusters_are_terminal_states(planted: Plant) -> None:
    tree = planted("bifurcating")
    graph = graph_of(tree.latent)
    pseudotime = order_of(graph, tree)
    latest = pseudotime.groupby(tree.clusters, observed=True).median().sort_values().index[-2:]
    fates = compute_fates(
        graph, pseudotime, tree.clusters, defaults_of(FateOptions, terminal_clusters=tuple(latest))
    )
    assert fates.cells["terminal_state"].cat.categories.tolist() == list(latest)
    assert (fates.cells["terminal_state"].value_counts() == 30).all()
    with pytest.raises(InputError, match="no cell of cluster '77'"):
        compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions, terminal_clusters=("77",)))


@pytest.mark.slow
def test_the_number_of_terminal_states_can_be_given(planted: Plant) -> None:
    tree = planted("three_way")
    graph = graph_of(tree.latent)
    pseudotime = order_of(graph, tree)
    two = compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions, n_terminal_states=2))
    assert two.states["terminal"].sum() == 2
    with pytest.raises(InputError, match="n_terminal_states is 40; at most 11"):
        compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions, n_terminal_states=40))
    with pytest.raises(InputError, match="n_terminal_states is 8, but the cells form only"):
        compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions, n_terminal_states=8))


@pytest.mark.slow
def test_groups_of_cells_give_the_fates_of_all_cells(planted: Plant) -> None:
    tree = planted("bifurcating", n_cells=1200)
    graph = graph_of(tree.latent)
    pseudotime = order_of(graph, tree)
    whole = compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions))
    grouped = compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions, max_cells=500))
    assert "among 500 groups" in grouped.sentences[-1]
    one, two = probabilities_of(whole.cells), probabilities_of(grouped.cells)
    assert one.columns.tolist() == two.columns.tolist()
    assert (one - two).abs().to_numpy().mean() < 0.05
    with pytest.raises(ValidationError, match="greater than or equal to 500"):
        defaults_of(FateOptions, max_cells=3)


def test_too_few_cells_are_refused(planted: Plant) -> None:
    line = planted("linear")
    few = pd.Series(np.nan, index=line.clusters.index)
    with pytest.raises(InputError, match="0 connected cells have a pseudotime"):
        compute_fates(graph_of(line.latent), few, line.clusters, defaults_of(FateOptions))


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_bits_in_silence(
    planted: Plant, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tree = planted("bifurcating")
    graph = graph_of(tree.latent)
    pseudotime = order_of(graph, tree)
    caplog.set_level(logging.INFO)
    one, two = (
        compute_fates(graph, pseudotime, tree.clusters, defaults_of(FateOptions)).cells for _ in range(2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert [record.message for record in caplog.records if record.name != "scvi_downstream"] == []
    assert capfd.readouterr() == ("", "")


def test_fates_solve_the_linear_system_of_absorption(planted: Plant) -> None:
    tree = planted("bifurcating")
    graph = graph_of(tree.latent)
    everything = np.ones(600, dtype=bool)
    time = pseudotime_of(graph, tree.root_cell)
    transitions = directed_walk(graph, everything, time)
    ends = {side: np.flatnonzero((tree.branch == side) & (tree.time > 0.97)) for side in ("left", "right")}
    found = absorb(transitions, time, ends)
    absorbing = np.concatenate(list(ends.values()))
    passing = np.setdiff1d(np.arange(600), absorbing)
    dense = transitions.toarray()
    system = np.eye(len(passing)) - dense[np.ix_(passing, passing)]
    for name, members in ends.items():
        expected = np.linalg.solve(system, dense[np.ix_(passing, members)].sum(axis=1))
        np.testing.assert_allclose(found[name].iloc[passing], expected, atol=1e-9)
        assert (found[name].iloc[members] == 1).all()


def check_against(reference: dict[str, Any], latent: np.ndarray, root: int) -> pd.DataFrame:
    """Walk and fates are CellRank's; the fates."""
    graph = graph_of(latent)
    time = pseudotime_of(graph, root)
    ordered = np.isfinite(time)
    walk, time = directed_walk(graph, ordered, time[ordered]), time[ordered]
    kept = reference["cells"]
    np.testing.assert_allclose((walk @ time)[kept], reference["steps"], atol=1e-6)
    found = absorb(walk, time, {name: np.array(cells) for name, cells in reference["ends"].items()})
    for name, expected in reference["fates"].items():
        np.testing.assert_allclose(found[name].iloc[kept], expected, atol=1e-6)
    return found


@pytest.mark.parametrize("kind", ["bifurcating", "three_way"])
def test_walk_fates_and_drivers_are_those_of_cellrank(
    planted: Plant, cellrank: dict[str, Any], kind: Kind
) -> None:
    from anndata import AnnData

    tree = planted(kind)
    fates = check_against(cellrank[kind], tree.latent, tree.root_cell).add_prefix("fate_")
    counts = AnnData(sparse.csr_matrix(tree.counts.astype(np.float32)))
    drivers = fate_drivers(counts, fates.set_axis(counts.obs_names))
    for name, expected in cellrank[kind]["drivers"].items():
        rows = drivers[drivers["terminal_state"] == name]
        assert rows["rank"].tolist() == list(range(1, 301))
        assert rows["correlation"].is_monotonic_decreasing
        found = rows.set_index("gene").loc[[str(i) for i in range(40)]]
        for column, values in expected.items():
            np.testing.assert_allclose(found[column], values, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_walk_and_fates_of_worm_are_those_of_cellrank(
    real_data: Path, reference_components: ReferenceComponents, cellrank: dict[str, Any]
) -> None:
    check_against(cellrank["worm_embryo"], reference_components(real_data / "worm_embryo.h5ad"), 0)


def two_islands(bridge: float) -> sparse.csr_matrix:
    """A walk on two rings of 60 cells, with an edge of the given weight from one to the other."""
    ring = sparse.diags([np.ones(59)] * 2, [-1, 1], format="lil")
    ring[0, 59] = ring[59, 0] = 1
    weights = sparse.block_diag([ring, ring], format="lil")
    weights[0, 60] = weights[60, 0] = bridge
    weights = weights.tocsr()
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(weights.sum(axis=1)).ravel()) @ weights)


def test_cells_that_are_all_but_cut_off_are_refused() -> None:
    ends = {"a": np.arange(20, 25), "b": np.arange(30, 35)}
    time = np.linspace(0, 1, 120)
    found = absorb(two_islands(1e-4), time, ends)
    np.testing.assert_allclose(found.iloc[60:], np.tile(found.iloc[[0]], (60, 1)), atol=1e-6)
    with pytest.raises(InputError, match="walks from 60 cells all but never reach a terminal state"):
        absorb(two_islands(0), time, ends)


def test_a_cell_with_all_neighbours_in_its_past_moves_by_the_undirected_graph() -> None:
    path = sparse.diags([[1.0, 1.0], [1.0, 1.0]], [-1, 1], format="csr")
    graph = NeighborsGraph(pd.Index(list("abc")), None, None, path, 2, exact=True)
    walk = directed_walk(graph, np.ones(3, dtype=bool), np.arange(3.0)).toarray()
    np.testing.assert_allclose(walk, [[0, 1, 0], [0.1, 0, 0.9], [0, 1, 0]])


def test_shuffled_cells_have_no_drivers(planted: Plant) -> None:
    from anndata import AnnData

    tree = planted("bifurcating")
    graph = graph_of(tree.latent)
    fates = compute_fates(graph, order_of(graph, tree), tree.clusters, defaults_of(FateOptions)).cells
    shuffled = np.random.default_rng(0).permutation(tree.counts)
    counts = AnnData(sparse.csr_matrix(shuffled.astype(np.float32)))
    counts.obs_names = tree.clusters.index
    drivers = fate_drivers(counts, fates)
    assert 0.01 < (drivers["p"] < 0.05).mean() < 0.1
    assert (drivers["p_adjusted"] < 0.05).mean() < 0.02


def test_one_fate_and_constant_genes_have_no_drivers() -> None:
    from anndata import AnnData

    cells = pd.Index([f"cell_{i}" for i in range(40)])
    matrix = np.ones((40, 2), dtype=np.float32)
    counts = AnnData(sparse.csr_matrix(matrix), obs=pd.DataFrame(index=cells))
    one = pd.DataFrame({"fate_a": 1.0, "fate_entropy": 0.0}, index=cells)
    assert fate_drivers(counts, one).empty
    share = np.linspace(0, 1, 40)
    two = pd.DataFrame({"fate_a": share, "fate_b": 1 - share, "fate_entropy": 0.5}, index=cells)
    drivers = fate_drivers(counts, two)
    assert len(drivers) == 4
    assert drivers[["correlation", "p", "p_adjusted"]].isna().all().all()


@pytest.mark.slow
def test_terminal_states_of_worm_neurons_are_neurons(real_data: Path) -> None:
    """Embryos of 210 to 780 minutes; AWC, ADL and ASG are neurons, their parents and neuroblasts are not."""
    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    import anndata
    from sklearn.cluster import KMeans

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.pipelines.embedding.nodes import compute_pca
    from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions

    counts, *_ = prepare_counts(
        anndata.read_h5ad(file),
        None,
        Keys(batch_key="batch", label_key="cell_type"),
        defaults_of(PreparationOptions),
    )
    latent = compute_pca(counts, defaults_of(EmbeddingOptions), 0)[0].to_numpy()
    graph = neighbors_graph(counts.obs_names, latent, n_neighbors=15, n_search=30, exact_up_to=5000, seed=0)
    codes = KMeans(12, n_init=3, random_state=0).fit_predict(latent)
    clusters = pd.Series(pd.Categorical(codes.astype(str)), index=counts.obs_names)
    time = counts.obs["embryo_time"].to_numpy(dtype=float)
    starts = np.flatnonzero(time <= np.quantile(time, 0.03))
    reach = reach_from(graph, starts, clusters)
    coordinates = diffusion_coordinates(graph, reach.reachable)
    pseudotime = diffusion_pseudotime(coordinates, root_cell(starts, coordinates.to_numpy(), graph))
    fates = compute_fates(graph, pseudotime["dpt_pseudotime"], clusters, defaults_of(FateOptions)).cells
    ends = counts.obs["cell_type"].astype(str)[fates["terminal_state"].notna()].value_counts(normalize=True)
    mature = ["ADL", "AWA", "AWB", "AWC", "AWC_ON", "ASG"]
    assert ends.reindex(mature).sum() > 0.9
    assert (ends.reindex(["ADL", "AWC"]) > 0.05).all()
