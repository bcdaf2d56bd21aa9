from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.components import reach_from
from scvi_downstream.pipelines.trajectory.diffusion import (
    diffusion_coordinates,
    diffusion_pseudotime,
    root_dependence,
    scanpy_graph,
)
from scvi_downstream.pipelines.trajectory.start import root_cell
from scvi_downstream.runtime.errors import InputError

from .conftest import Kind, Plant, Planted


def graph_of(cells: Planted) -> NeighborsGraph:
    return neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=30, exact_up_to=1000, seed=0
    )


def everything(graph: NeighborsGraph) -> np.ndarray:
    return np.ones(len(graph.cells), dtype=bool)


def test_pseudotime_is_that_of_scanpy(planted: Plant) -> None:
    import scanpy as sc

    tree = planted("bifurcating")
    graph = graph_of(tree)
    reference = scanpy_graph(graph)
    sc.tl.diffmap(reference, n_comps=10)
    reference.uns["iroot"] = tree.root_cell
    sc.tl.dpt(reference, n_dcs=10)
    coordinates = diffusion_coordinates(graph, everything(graph), n_components=10)
    found = diffusion_pseudotime(coordinates, tree.root_cell)["dpt_pseudotime"]
    assert coordinates.shape == (600, 9)
    np.testing.assert_allclose(found, reference.obs["dpt_pseudotime"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "bifurcating", "three_way"])
def test_planted_time_is_recovered_from_a_start_cluster(kind: Kind, planted: Plant) -> None:
    for seed in range(3):
        tree = planted(kind, seed=seed)
        graph = graph_of(tree)
        starts = np.flatnonzero(tree.clusters == tree.clusters.iloc[tree.root_cell])
        coordinates = diffusion_coordinates(graph, everything(graph))
        root = root_cell(starts, coordinates.to_numpy(), graph)
        pseudotime = diffusion_pseudotime(coordinates, root)["dpt_pseudotime"]
        assert np.mean(tree.time < tree.time[root]) < 0.06
        assert spearmanr(pseudotime, tree.time).statistic > 0.9
        assert pseudotime.iloc[root] == 0
        assert pseudotime.max() == 1


def test_cells_that_cannot_be_reached_have_no_pseudotime(planted: Plant) -> None:
    island = planted("disconnected")
    graph = graph_of(island)
    reach = reach_from(graph, np.array([island.root_cell]), island.clusters)
    coordinates = diffusion_coordinates(graph, reach.reachable)
    pseudotime = diffusion_pseudotime(coordinates, island.root_cell)["dpt_pseudotime"]
    assert np.array_equal(pseudotime.isna(), island.branch == "island")
    trunk = island.branch == "trunk"
    assert spearmanr(pseudotime[trunk], island.time[trunk]).statistic > 0.9
    with pytest.raises(InputError, match="not among the connected cells"):
        diffusion_pseudotime(coordinates, int(np.flatnonzero(~trunk)[0]))


def test_the_same_seed_gives_the_same_bits(planted: Plant) -> None:
    graph = graph_of(planted("linear"))
    one, two = (diffusion_coordinates(graph, everything(graph), seed=3) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_few_cells_are_refused(planted: Plant) -> None:
    graph = graph_of(planted("linear"))
    few = np.zeros(600, dtype=bool)
    few[:6] = True
    with pytest.raises(InputError, match="only 6 cells"):
        diffusion_coordinates(graph, few)


def test_the_order_hardly_depends_on_the_root_within_the_tip_of_a_line(planted: Plant) -> None:
    line = planted("linear")
    graph = graph_of(line)
    coordinates = diffusion_coordinates(graph, everything(graph))
    tip = np.flatnonzero(line.time < 0.05)
    found = root_dependence(coordinates, line.root_cell, tip)
    assert found["n_other_roots"] == 10
    assert found["lowest"] > 0.9
    both_ends = np.r_[line.root_cell, line.time.argmax()]
    assert root_dependence(coordinates, line.root_cell, both_ends)["lowest"] < -0.9
    assert np.isnan(root_dependence(coordinates, line.root_cell, np.array([line.root_cell]))["lowest"])
