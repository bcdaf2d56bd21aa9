"""Slingshot against its Python port, planted time, and the embryo's clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scvi_downstream.pipelines.trajectory import slingshot as module
from scvi_downstream.pipelines.trajectory.lineages import choose_start_cluster
from scvi_downstream.pipelines.trajectory.principal_curves import smoothing_spline
from scvi_downstream.pipelines.trajectory.slingshot import (
    Slingshot,
    reweigh,
    slingshot,
    slingshot_consensus,
    slingshot_table,
)
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from conftest import Plant, ReferenceComponents

REFERENCE = Path(__file__).parent / "reference"
N_LINEAGES = {"linear": 1, "bifurcating": 2, "three_way": 3}


def _fit(plant: Plant, kind: str, seed: int = 0) -> tuple[Slingshot, np.ndarray]:
    cells = plant(kind, 600, seed)  # type: ignore[arg-type]
    return slingshot(cells.latent, cells.clusters, str(cells.clusters.iloc[cells.root_cell])), cells.time


@pytest.mark.thorough
@pytest.mark.parametrize("kind", N_LINEAGES)
def test_planted_time_comes_back(planted: Plant, kind: str) -> None:
    for seed in range(3):
        found, time = _fit(planted, kind, seed)
        assert found.weights.shape[1] == N_LINEAGES[kind]
        assert spearmanr(found.mean_pseudotime, time)[0] > 0.95
        for k in range(N_LINEAGES[kind]):
            on = found.weights[:, k] > 0
            assert spearmanr(found.pseudotime[on, k], time[on])[0] > 0.88


@pytest.mark.parametrize("kind", ["bifurcating", "three_way"])
def test_planted_branches_go_to_lineages_of_their_own(planted: Plant, kind: str) -> None:
    cells = planted(kind)  # type: ignore[arg-type]
    found, _ = _fit(planted, kind)
    tips = (cells.branch != "trunk") & (cells.time > 0.7)
    table = pd.crosstab(cells.branch[tips], found.lineage[tips])
    assert table.to_numpy().max(axis=1).sum() / tips.sum() > 0.98
    assert table.idxmax(axis=1).nunique() == len(table)


def test_invariants(planted: Plant) -> None:
    found, _ = _fit(planted, "three_way")
    assert found.converged
    np.testing.assert_array_equal(np.isnan(found.pseudotime), found.weights == 0)
    assert np.nanmin(found.pseudotime) >= 0
    np.testing.assert_allclose(np.nanmin(found.pseudotime, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found.weights.max(axis=1), 1)
    assert all(curve.shape == (100, 10) for curve in found.curves)
    starts = np.array([curve[0] for curve in found.curves])
    ends = np.array([curve[-1] for curve in found.curves])
    assert np.linalg.norm(starts - starts.mean(axis=0), axis=1).max() < 0.2 * np.linalg.norm(
        ends[0] - ends[1]
    )


def test_curves_are_smoothed_with_the_weights_of_the_iteration_before(
    planted: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def smooth(x: np.ndarray, y: np.ndarray, weights: np.ndarray, *rest: Any) -> Any:
        given.append(weights)
        return smoothing_spline(x, y, weights, *rest)

    given: list[np.ndarray] = []
    monkeypatch.setattr(module, "smoothing_spline", smooth)
    cells = planted("bifurcating")
    found, _ = _fit(planted, "bifurcating")
    for weights, path in zip(given, found.tree.lineages, strict=False):
        np.testing.assert_array_equal(weights, cells.clusters.astype(str).isin(path))
    assert ((given[2] > 0) & (given[2] < 1)).any()


def test_same_bits_again(planted: Plant) -> None:
    first, again = (_fit(planted, "bifurcating")[0] for _ in range(2))
    np.testing.assert_array_equal(first.mean_pseudotime, again.mean_pseudotime)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", N_LINEAGES)
def test_rounding_and_units_change_nothing(planted: Plant, kind: str) -> None:
    for seed in range(3):
        cells = planted(kind, 300, seed)  # type: ignore[arg-type]
        middle = choose_start_cluster(cells.clusters, np.argsort(np.abs(cells.time - 0.5))[:30])
        for start in (str(cells.clusters.iloc[cells.root_cell]), middle):
            first = slingshot(cells.latent, cells.clusters, start)
            for factor in (1 + 1e-12, 3.7):
                scaled = slingshot(factor * cells.latent, cells.clusters, start)
                moved = np.abs(scaled.mean_pseudotime / factor - first.mean_pseudotime).max()
                assert moved < 1e-7 * first.mean_pseudotime.max()
                np.testing.assert_array_equal(scaled.lineage, first.lineage)


def test_cells_of_other_components_have_no_pseudotime(planted: Plant) -> None:
    cells = planted("disconnected")
    island = cells.branch == "island"
    clusters = cells.clusters.astype(str)
    clusters[island] = "island " + clusters[island]
    found = slingshot(cells.latent, clusters, clusters.iloc[cells.root_cell], components=island.astype(int))
    np.testing.assert_array_equal(np.isnan(found.mean_pseudotime), island)
    assert (found.lineage[island] == -1).all()
    assert spearmanr(found.mean_pseudotime[~island], cells.time[~island])[0] > 0.9


def test_branches_in_opposite_directions_are_not_forced_together(planted: Plant) -> None:
    cells = planted("linear")
    middle = choose_start_cluster(cells.clusters, np.argsort(np.abs(cells.time - 0.5))[:30])
    found = slingshot(cells.latent, cells.clusters, middle)
    assert found.weights.shape[1] == 2
    from_start = np.abs(cells.time - cells.time[cells.clusters == middle].mean())
    assert spearmanr(found.mean_pseudotime, from_start)[0] > 0.95


def test_table_has_the_columns_and_cells(planted: Plant) -> None:
    cells = planted("bifurcating")
    found, _ = _fit(planted, "bifurcating")
    table = slingshot_table(found, cells.clusters.index)
    numbered = [f"slingshot_{what}_{k}" for what in ("pseudotime", "weight") for k in (1, 2)]
    assert list(table.columns) == ["slingshot_pseudotime", "slingshot_lineage", *numbered]
    assert list(table["slingshot_lineage"].cat.categories) == ["lineage_1", "lineage_2"]
    assert table.index.name == "cell"


def test_infinite_coordinates_are_refused(planted: Plant) -> None:
    cells = planted("linear")
    with pytest.raises(InputError, match="NaN or infinite"):
        slingshot(np.where(cells.latent > 3, np.nan, cells.latent), cells.clusters, "0")


def test_weights_follow_distances() -> None:
    on_both = np.ones((100, 2))
    distances = np.column_stack([np.arange(100.0), np.arange(100.0)[::-1]])
    weights = reweigh(on_both, distances)
    assert weights[0, 0] == 1
    assert weights[0, 1] < 0.1
    assert (np.diff(weights[:, 0]) <= 0).all()
    assert (np.diff(weights[:, 1]) >= 0).all()
    np.testing.assert_array_equal(weights.max(axis=1), 1)


def test_equal_distances_have_equal_weights() -> None:
    shared = np.repeat(np.random.default_rng(0).random(200), 2).reshape(200, 2)
    np.testing.assert_array_equal(reweigh(np.ones((200, 2)), shared), 1)


def test_the_order_of_sums_does_not_move_cells_over_a_threshold() -> None:
    # shares of 1, 1/2 and 1/3; those of the nearer cells add up to one half, the last bit aside
    weights = np.tril(np.ones((3, 3)))[np.arange(40) % 3]
    distances = np.repeat([1.0, 2.0], 20)[:, None] * np.ones(3)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(20)
        order = np.concatenate([order, order + 20])
        np.testing.assert_array_equal(
            reweigh(weights[order], distances[order]), reweigh(weights, distances)[order]
        )


def _against_port(name: str, latent: np.ndarray) -> dict[str, float]:
    """Spearman with the port per lineage, once the trees are the same."""
    port = np.load(REFERENCE / f"{name}.npz")
    clusters = pd.Series(pd.Categorical(port["codes"].astype(str)))
    found = slingshot(latent, clusters, str(port["start"]))
    assert {frozenset(edge) for edge in found.tree.edges} == {
        frozenset(map(str, edge)) for edge in port["edges"]
    }
    ours = ["-".join(path) for path in found.tree.lineages]
    assert set(ours) == set(port["lineages"])
    correlations = {}
    for number, lineage in enumerate(port["lineages"]):
        rows = port["lineage_of_row"] == number
        own = found.pseudotime[port["cells"][rows], ours.index(lineage)]
        assert np.isnan(own).mean() < 0.25
        correlations[str(lineage)] = spearmanr(own, port["pseudotime"][rows], nan_policy="omit")[0]
    return correlations


@pytest.mark.parametrize("name", ["bifurcating", "three_way"])
def test_planted_cells_as_the_port(reference_cells: dict[str, np.ndarray], name: str) -> None:
    assert min(_against_port(name, reference_cells[name]).values()) > 0.99


@pytest.mark.slow
def test_worm_as_the_port(real_data: Path, reference_components: ReferenceComponents) -> None:
    correlations = _against_port("worm_embryo", reference_components(real_data / "worm_embryo.h5ad"))
    assert min(correlations.values()) > 0.95


@pytest.mark.slow
def test_pbmc_as_the_port_where_that_keeps_to_its_tree(
    real_data: Path, reference_components: ReferenceComponents
) -> None:
    latent = reference_components(real_data / "pbmc3k.h5ad")
    assert _against_port("pbmc3k", latent)["4-0-5-2-3"] > 0.95
    port = np.load(REFERENCE / "pbmc3k.npz")
    codes = port["codes"].astype(str)
    found = slingshot(latent, pd.Series(pd.Categorical(codes)), str(port["start"]))
    path = next(k for k, names in enumerate(found.tree.lineages) if names[-1] == "1")
    means = [np.nanmean(found.pseudotime[codes == name, path]) for name in found.tree.lineages[path]]
    assert (np.diff(means) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", N_LINEAGES)
def test_consensus_finds_planted_time(planted: Plant, kind: str) -> None:
    cells = planted(kind)  # type: ignore[arg-type]
    start = np.argsort(cells.time)[:10]
    found = slingshot_consensus(cells.latent, start, np.ones(600, bool), n_clusters=(5, 5, 7, 7, 9, 9))
    assert spearmanr(found.pseudotime, cells.time)[0] > 0.95
    assert np.nanmin(found.pseudotime) == 0
    assert found.agreement.shape == (6,)
    assert len(found.n_lineages) == 6


@pytest.mark.slow
def test_consensus_on_noise_disagrees() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 10))
    found = slingshot_consensus(noise, np.arange(10), np.ones(300, bool), n_clusters=(5, 5, 7, 7))
    assert found.agreement.mean() < 0.5


def test_consensus_leaves_out_what_the_start_does_not_reach(planted: Plant) -> None:
    cells = planted("disconnected")
    trunk = cells.branch != "island"
    found = slingshot_consensus(cells.latent, np.array([cells.root_cell]), trunk, n_clusters=(5, 5))
    np.testing.assert_array_equal(np.isnan(found.pseudotime), ~trunk)
    with pytest.raises(InputError, match="no start cells"):
        slingshot_consensus(cells.latent, np.array([], dtype=int), trunk, n_clusters=(5,))
