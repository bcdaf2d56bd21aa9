"""Integration metrics equal scib-metrics, and order planted embeddings as they must."""

import os
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import find_neighbors, neighbors_graph
from scvi_downstream.pipelines.comparison.benchmarker import our_name
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.evaluation.nodes import score_integration
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.scoring.criteria import BATCH_METRICS, BIO_METRICS
from scvi_downstream.scoring.embedding_metrics import (
    Cells,
    aggregate,
    batch_metrics,
    label_and_batch_metrics,
    label_metrics,
)
from scvi_downstream.scoring.kbet import kbet_on_graph
from scvi_downstream.scoring.resampling import stratified_sample
from scvi_downstream.scoring.silhouette import bras
from scvi_downstream.study.defaults import defaults_of

KEYS = Keys(batch_key="batch", label_key="label")
DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CELL_LINES = DATA / "cell_lines.h5ad"


def simulate(n_cells=300, *, batch_shift=0.0, label_shift=6.0, seed=0):
    rng = np.random.default_rng(seed)
    label, batch = rng.integers(3, size=n_cells), rng.integers(2, size=n_cells)
    latent = rng.normal(size=(n_cells, 6))
    latent[:, :3] += label_shift * np.eye(3)[label]
    latent[:, 3] += batch_shift * batch
    obs = pd.DataFrame(
        {
            "label": pd.Categorical([f"l{i}" for i in label]),
            "batch": pd.Categorical([f"b{i}" for i in batch]),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    return pd.DataFrame(latent, index=obs.index), anndata.AnnData(obs=obs)


def score(latent, counts, keys=KEYS, options=None, before=None):
    return score_and_draw(
        latent, counts, keys, options or defaults_of(ComparisonOptions, n_bootstrap=0), before
    )[0]


def score_and_draw(latent, counts, keys=KEYS, options=None, before=None):
    graph = neighbors_graph(
        latent.index, latent.to_numpy(), n_neighbors=15, n_search=90, exact_up_to=50_000, seed=0
    )
    return score_integration(
        latent,
        graph,
        counts,
        latent if before is None else before,
        keys,
        options or defaults_of(ComparisonOptions),
        0,
    )


def search_exactly(points, n_neighbors):
    from scib_metrics.nearest_neighbors import NeighborsResults

    indices, distances = find_neighbors(np.asarray(points), int(n_neighbors), exact=True, seed=0)
    return NeighborsResults(indices=indices, distances=distances)


def equal_the_benchmarker(cells, latent, keys, monkeypatch):
    """Compare all metrics of scib-metrics' Benchmarker on cells with ``X_pca``, by the same exact neighbours."""
    from scib_metrics.benchmark import Benchmarker, BioConservation

    pca = pd.DataFrame(cells.obsm["X_pca"], index=cells.obs_names)
    cells.obsm["latent"] = latent.to_numpy()
    benchmarker = Benchmarker(
        cells,
        keys.batch_key,
        keys.label_key,
        ["latent"],
        BioConservation(nmi_ari_cluster_labels_leiden=True),
        pre_integrated_embedding_obsm_key="X_pca",
        progress_bar=False,
    )
    monkeypatch.setattr("scib_metrics.nearest_neighbors.pynndescent", search_exactly)
    benchmarker.prepare(neighbor_computer=search_exactly)
    benchmarker.benchmark()
    theirs = benchmarker.get_results(clean_names=False).loc["latent"].rename(our_name)
    ours = score(latent, cells, keys, before=pca)
    assert ours["left_out"] == {}
    without_kmeans = [theirs[f"scib_{name}"] for name in BIO_METRICS if not name.startswith("kmeans")]
    assert ours["scib_bio_conservation"] == pytest.approx(np.mean(without_kmeans), abs=1e-6)
    ours |= score(latent, cells, keys, defaults_of(ComparisonOptions, leiden_optimisation=False), before=pca)
    ours = {f"scib_{name.removeprefix('scib_')}": value for name, value in ours.items()}
    for name, value in theirs.drop(["scib_bio_conservation", "scib_total"]).items():
        # the ratio of two small shares of variance, which scib-metrics rounds to float32
        rounding = 2e-5 if name in ("scib_pcr_comparison", "scib_batch_correction") else 1e-6
        rounding = 0.15 if "kmeans" in name else rounding  # from another random start
        assert ours[name] == pytest.approx(value, abs=rounding), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not CELL_LINES.exists(), reason="cell_lines.h5ad is not at hand")
def test_same_numbers_as_the_benchmarker_on_cell_lines_of_five_protocols(monkeypatch):
    import scanpy as sc

    cells = anndata.read_h5ad(CELL_LINES)
    cells = cells[cells.obs["demuxlet_cls"] == "SNG"].copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=1000)
    sc.pp.pca(cells, n_comps=30)
    latent = pd.DataFrame(cells.obsm["X_pca"][:, 1:11], index=cells.obs_names)
    equal_the_benchmarker(cells, latent, Keys(batch_key="batch", label_key="cell_line"), monkeypatch)


@pytest.mark.slow
def test_bras_and_kbet_equal_scib_metrics_with_labels_too_small_to_test(monkeypatch):
    import scib_metrics

    latent, counts = simulate(batch_shift=1.0, label_shift=3.0)
    labels, batches = (counts.obs[name].astype(str).to_numpy() for name in ("label", "batch"))
    labels[:9] = "rare"
    assert bras(latent.to_numpy(), labels, batches) == pytest.approx(
        scib_metrics.bras(latent.to_numpy(), labels, batches), abs=1e-5
    )
    monkeypatch.setattr("scib_metrics.nearest_neighbors.pynndescent", search_exactly)
    neighbors = search_exactly(latent.to_numpy(), 50)
    ours = kbet_on_graph(neighbors.knn_graph_connectivities.tocsr(), batches, labels)
    assert ours == pytest.approx(scib_metrics.kbet_per_label(neighbors, batches, labels), abs=1e-6)
    assert 0 <= ours <= 1


@pytest.mark.slow
def test_mixed_batches_score_higher_than_separated_ones_and_labels_the_same():
    mixed, separated = (
        score(*simulate()),
        score(*simulate(batch_shift=8.0), before=simulate(batch_shift=8.0)[0]),
    )
    for name in ("bras", "ilisi", "kbet"):
        assert mixed[name] > separated[name] + 0.1, name
    assert mixed["kbet"] > 0.8
    assert separated["kbet"] < 0.5
    assert separated["pcr_comparison"] == pytest.approx(0, abs=1e-6)
    assert mixed["leiden_nmi"] > 0.95
    corrected = score(simulate()[0], simulate()[1], before=simulate(batch_shift=8.0)[0])
    assert corrected["pcr_comparison"] > 0.95


@pytest.mark.slow
def test_random_labels_agree_with_no_clustering():
    latent, counts = simulate()
    counts.obs["label"] = pd.Categorical(np.random.default_rng(0).permutation(counts.obs["label"]))
    scores = score(latent, counts)
    assert abs(scores["leiden_ari"]) < 0.03
    assert scores["leiden_nmi"] < 0.06
    assert scores["silhouette_label"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_aggregates_are_the_weighted_means():
    scores = score(*simulate(batch_shift=1.0))
    bio = np.mean([scores[name] for name in BIO_METRICS if name in scores])
    batch = np.mean([scores[name] for name in BATCH_METRICS])
    assert scores["scib_total"] == pytest.approx(0.6 * bio + 0.4 * batch)


@pytest.mark.slow
def test_unknown_cells_change_no_label_metric():
    latent, counts = simulate(batch_shift=1.0)
    rng = np.random.default_rng(1)
    extra = pd.DataFrame(rng.normal(2, 3, size=(80, 6)), index=[f"u{i}" for i in range(80)])
    obs = pd.DataFrame({"label": UNKNOWN, "batch": rng.choice(["b0", "b1"], 80)}, index=extra.index)
    both = anndata.AnnData(obs=pd.concat([counts.obs.astype(str), obs]).astype("category"))
    alone, beside = score(latent, counts), score(pd.concat([latent, extra]), both)

    assert beside["n_labelled_cells"] == 300
    assert beside["n_cells"] == 380
    for name in (*BIO_METRICS, "bras", "kbet", "graph_connectivity"):
        assert alone.get(name) == beside.get(name), name
    assert alone["ilisi"] != beside["ilisi"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "absent", "present", "reason"),
    [
        (Keys(batch_key="batch"), "clisi", "ilisi", "no label_key"),
        (Keys(label_key="label"), "ilisi", "clisi", "no batch_key"),
        (Keys(label_key="label", batch_key="one"), "bras", "leiden_ari", "one batch in obs\\['one'\\]"),
        (
            Keys(label_key="one", batch_key="batch"),
            "silhouette_label",
            "pcr_comparison",
            "1 label in obs\\['one'\\]",
        ),
        (Keys(label_key="label", batch_key="label"), "kbet", "ilisi", "no label is found in two batches"),
    ],
)
def test_metrics_that_the_data_do_not_allow_are_left_out_with_the_reason(keys, absent, present, reason):
    import re

    latent, counts = simulate(120)
    counts.obs["one"] = pd.Categorical(["only"] * 120)
    scores = score(latent, counts, keys)
    assert absent not in scores
    assert re.search(reason, scores["left_out"][absent])
    assert 0 <= scores[present] <= 1
    assert not set(scores) & set(scores["left_out"])
    assert ("scib_total" in scores) == (absent == "kbet")


def test_nothing_can_be_scored_without_labels_and_batches():
    latent, counts = simulate(60)
    scores, draws = score_and_draw(latent, counts, Keys())
    assert not [name for name in scores if name.startswith("scib_")]
    assert len(scores["left_out"]) == 10
    assert draws.shape == (200, 0)


def test_sample_keeps_every_stratum_in_proportion():
    labels = pd.Series(["a"] * 900 + ["b"] * 95 + ["c"] * 5)
    chosen = stratified_sample([labels, None], 1000, 200, 0)
    assert labels.iloc[chosen].value_counts().to_dict() == {"a": 180, "b": 19, "c": 1}
    assert list(stratified_sample([labels], 1000, 1000, 0)) == list(range(1000))


@pytest.mark.slow
def test_a_sample_scores_close_to_all_cells():
    latent, counts = simulate(800, batch_shift=1.0)
    everything, sample = (
        score(latent, counts),
        score(latent, counts, options=defaults_of(ComparisonOptions, max_cells=400)),
    )
    assert sample["n_cells"] == pytest.approx(400, abs=5)
    assert sample["scib_total"] == pytest.approx(everything["scib_total"], abs=0.06)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sample == {
            **score(latent, counts, options=defaults_of(ComparisonOptions, max_cells=400)),
            "seconds": sample["seconds"],
        }


def test_draws_have_the_columns_of_the_leaderboard_and_their_aggregates():
    latent, counts = simulate(batch_shift=1.0, label_shift=3.0)
    scores, draws = score_and_draw(latent, counts, options=defaults_of(ComparisonOptions, n_bootstrap=40))
    metrics = [name for name in (*BIO_METRICS, *BATCH_METRICS) if name in scores]
    assert list(draws) == [
        *(f"scib_{name}" for name in metrics),
        "scib_bio_conservation",
        "scib_batch_correction",
        "scib_total",
    ]
    assert draws.index.name == "draw"
    assert list(draws.index) == list(range(40))
    assert draws.notna().all(axis=None)
    assert (draws.std() > 0)[[f"scib_{name}" for name in metrics if name != "graph_connectivity"]].all()
    for _, draw in draws.iterrows():
        single = {name: draw[f"scib_{name}"] for name in metrics}
        assert draw["scib_total"] == pytest.approx(aggregate(single)["scib_total"])
    for name in metrics:
        column = draws[f"scib_{name}"]
        assert column.between(0, 1).all()
        cut = 0.0 if column.between(1e-9, 1 - 1e-9).all() else column.std()
        assert column.mean() == pytest.approx(scores[name], abs=cut + 1e-9), name


@pytest.mark.thorough
def test_draws_are_the_same_cells_in_every_embedding():
    latent, counts = simulate(batch_shift=1.0, label_shift=3.0)
    moved = latent + np.random.default_rng(5).normal(scale=0.05, size=latent.shape)
    (_, first), (_, second) = (score_and_draw(cells, counts, before=latent) for cells in (latent, moved))
    name = "scib_silhouette_label"
    assert np.corrcoef(first[name], second[name])[0, 1] > 0.95
    assert (first[name] - second[name]).std() < first[name].std() / 3


@pytest.mark.parametrize("resolutions", [(0.5, 1.0), pytest.param((), marks=pytest.mark.slow)])
def test_weights_of_one_give_the_score_also_beside_others(resolutions):
    latent, counts = simulate(batch_shift=1.0, label_shift=3.0)
    graph = neighbors_graph(
        latent.index, latent.to_numpy(), n_neighbors=15, n_search=90, exact_up_to=50_000, seed=0
    )
    labels, batches = (counts.obs[name].cat.codes.to_numpy().astype(int) for name in ("label", "batch"))
    points = latent.to_numpy(np.float32)
    cells = Cells(points, graph.indices, graph.distances, labels, batches)
    once = np.ones((1, len(labels)))
    resampled = np.random.default_rng(0).multinomial(len(labels), once[0] / len(labels), 2).astype(float)
    names = []
    for metrics in (
        label_metrics(cells, resolutions),
        label_and_batch_metrics(cells),
        batch_metrics(cells, points),
    ):
        alone, beside = metrics(once), metrics(np.concatenate([resampled[:1], once, resampled[1:]]))
        for name, values in beside.items():
            assert values[1] == pytest.approx(alone[name][0], abs=1e-12), name
            names.append(name)
    assert len(names) == 10


def test_the_fast_profile_scores_a_sample_by_some_of_the_resolutions():
    latent, counts = simulate(400, batch_shift=1.0)
    full = score(latent, counts)
    fast = score(
        latent, counts, options=defaults_of(ComparisonOptions, profile="fast", max_cells=300, n_bootstrap=0)
    )
    assert fast["n_cells"] == pytest.approx(300, abs=5)
    assert fast["scib_total"] == pytest.approx(full["scib_total"], abs=0.1)
    every_cell = score(latent, counts, options=defaults_of(ComparisonOptions, profile="fast", n_bootstrap=0))
    assert every_cell["leiden_nmi"] <= full["leiden_nmi"]
    same = [name for name in BATCH_METRICS if name in full]
    assert {name: every_cell[name] for name in same} == {name: full[name] for name in same}


@pytest.mark.slow
def test_draws_of_kmeans_tell_where_one_random_start_lands():
    latent, counts = simulate(batch_shift=1.0, label_shift=12.0)
    _, draws = score_and_draw(
        latent, counts, options=defaults_of(ComparisonOptions, leiden_optimisation=False, n_bootstrap=10)
    )
    assert (draws["scib_kmeans_nmi"] == 1).all()
    assert draws["scib_total"].std() > 0


@pytest.mark.slow
def test_many_cells_are_drawn_less_often(monkeypatch):
    from scvi_downstream.scoring import resampling

    monkeypatch.setattr(resampling, "_CELLS_CLUSTERED", 6_000)
    latent, counts = simulate(100)
    _, draws = score_and_draw(latent, counts)
    assert list(draws.index) == list(range(60))


@pytest.mark.slow
def test_intervals_hold_what_they_should_as_often_as_they_say():
    """New samples of a known generator; the benchmark of intervals reports all metrics on more samples."""
    held, spread, n_samples = {}, {}, 40
    options = defaults_of(ComparisonOptions, n_bootstrap=80)
    samples = [
        score_and_draw(*simulate(200, batch_shift=1.0, label_shift=2.5, seed=i), options=options)
        for i in range(n_samples)
    ]
    names = [name for name in samples[0][1] if name != "scib_clisi"]
    for name in names:
        scored = [scores.get(name, scores.get(name.removeprefix("scib_"))) for scores, _ in samples]
        ends = np.array([draws[name].quantile([0.05, 0.95]) for _, draws in samples])
        held[name] = ((ends[:, 0] <= np.mean(scored)) & (np.mean(scored) <= ends[:, 1])).mean()
        spread[name] = np.mean([draws[name].std() for _, draws in samples]) / np.std(scored)
    narrow_in_small_labels = held.pop("scib_kbet")
    assert narrow_in_small_labels > 0.45
    assert min(held.values()) > 0.65, held
    assert min(held["scib_bio_conservation"], held["scib_total"]) > 0.8
    assert min(spread.values()) > 0.5, spread
    assert max(spread["scib_bio_conservation"], spread["scib_batch_correction"], spread["scib_total"]) < 1.6
