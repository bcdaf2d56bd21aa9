from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.pipelines.samples.comparison import cluster_in_groups, separate_conditions, silhouette
from scvi_downstream.pipelines.samples.design import SampleDesign, make_contrasts
from scvi_downstream.pipelines.samples.distances import GroupSums, tabulate_distances
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.study.defaults import defaults_of

OPTIONS = defaults_of(SamplesOptions)


def design_of(n_pairs: int, *, cells: int = 20) -> SampleDesign:
    names = [f"d{i // 2} × {'stim' if i % 2 else 'ctrl'}" for i in range(2 * n_pairs)]
    of_cell = np.repeat(np.arange(2 * n_pairs), cells)
    members = np.vstack([np.ones(len(of_cell), dtype=bool), np.ones(len(of_cell), dtype=bool)])
    return SampleDesign(
        samples=tuple(names),
        of_cell=of_cell,
        conditions=("ctrl", "stim") * n_pairs,
        reference="ctrl",
        blocks=tuple(f"d{i // 2}" for i in range(2 * n_pairs)),
        groups=("all cells", "T"),
        members=members,
        grouping="type",
        cells=np.full((2, 2 * n_pairs), cells),
        min_cells=5,
    )


def distances_of(points: np.ndarray, design: SampleDesign) -> pd.DataFrame:
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    sums = GroupSums(np.stack([apart, apart]), np.stack([points @ points.T] * 2))
    return tabulate_distances(sums, np.stack([apart, apart]), design, OPTIONS)


@given(st.integers(0, 10_000), st.integers(4, 12), st.integers(2, 4))
def test_silhouette_is_that_of_scikit_learn(seed: int, n: int, n_labels: int) -> None:
    from sklearn.metrics import silhouette_score

    random = np.random.default_rng(seed)
    points = random.normal(size=(n, 3))
    labels = np.concatenate([np.arange(n_labels), random.integers(n_labels, size=n)])[:n]
    if len(np.unique(labels)) >= n:
        return
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    expected = silhouette_score(apart, labels, metric="precomputed")
    assert silhouette(apart, labels[None])[0] == pytest.approx(expected)


def test_planted_conditions_are_parted_and_clustered() -> None:
    design = design_of(6)
    points = np.random.default_rng(0).normal(size=(12, 4)) * 0.2 + 2 * np.tile([0, 1], 6)[:, None]
    distances = distances_of(points, design)
    table = separate_conditions(distances, design, make_contrasts(design, OPTIONS, 0), OPTIONS)
    row = table.set_index("group").loc["T"]
    assert row["silhouette"] > 0.7
    assert row["silhouette_p"] == 2 / 64
    assert row["between"] > 3 * row["within"]
    assert row["above_noise"] == 1
    assert row["above_noise_within"] < 0.2
    clusters = cluster_in_groups(distances, design, OPTIONS)
    of_group = clusters[clusters["group"] == "T"]
    assert of_group.groupby("condition")["cluster"].nunique().tolist() == [1, 1]
    assert sorted(of_group["position"]) == list(range(12))


def test_samples_that_differ_by_donor_alone_are_not_parted() -> None:
    design = design_of(6)
    donors = np.repeat(np.random.default_rng(1).normal(size=(6, 4)), 2, axis=0)
    points = donors + 0.1 * np.random.default_rng(2).normal(size=(12, 4))
    table = separate_conditions(
        distances_of(points, design), design, make_contrasts(design, OPTIONS, 0), OPTIONS
    )
    assert (table["silhouette_p"] > 0.05).all()
    assert (table["silhouette"] < 0.1).all()


def test_too_few_samples_are_neither_clustered_nor_tested() -> None:
    design = design_of(1)
    distances = distances_of(np.random.default_rng(0).normal(size=(2, 4)), design)
    assert cluster_in_groups(distances, design, OPTIONS).empty
    table = separate_conditions(distances, design, make_contrasts(design, OPTIONS, 0), OPTIONS)
    assert table["silhouette"].isna().all()
    assert table["reason"].str.contains("1 sample in pairs").all()


def test_samples_of_few_cells_are_marked() -> None:
    design = design_of(2, cells=3)
    assert not distances_of(np.eye(4), design)["supported"].any()
