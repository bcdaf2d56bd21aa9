from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.stability.comparison import cluster_again, compare_seeds
from scvi_downstream.pipelines.stability.genes import (
    jaccard,
    jaccard_by_chance,
    rank_biased_overlap,
    rank_genes_of_clusters,
    rank_genes_of_labels,
)
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, model_options

from .conftest import nearest_graph

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = defaults_of(StabilityOptions, top_genes=20)
DE = defaults_of(DeOptions, n_samples=300)
ITEMS = st.lists(st.sampled_from([f"g{i}" for i in range(12)]), min_size=1, max_size=8, unique=True)
P = st.floats(0.1, 0.95)


def test_genes_of_labels_need_labels(pbmc_counts: AnnData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label_key, which is empty"):
        rank_genes_of_labels(SavedModel(tmp_path), pbmc_counts, Keys(), DE, OPTIONS, 0, "cpu")


@pytest.fixture(scope="module")
def fits(pbmc_counts: AnnData, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedModel]:
    """The model of the study and two fits with other seeds, all briefly."""
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    folder: Path = tmp_path_factory.mktemp("seeds")
    saved = {}
    for name, seed in (("scvi", None), ("scvi_seed1", 1), ("scvi_seed2", 2)):
        spec = model_options(
            {"name": name, "family": "SCVI", "n_latent": 5, "n_hidden": 32, "training": {"max_epochs": 60}}
        )
        store = CheckpointDataset(filepath=str(folder / f"{name} checkpoint")).load()
        model, _, _ = train_model(
            pbmc_counts, spec | ({} if seed is None else {"seed": seed}), keys, 0, "cpu", store
        )
        dataset = ScviModelDataset(filepath=str(folder / name))
        dataset.save(model)
        saved[name] = dataset.load()
    return saved


@pytest.mark.slow
def test_fits_with_other_seeds_are_compared_from_end_to_end(
    fits: dict[str, SavedModel], pbmc_counts: AnnData, keys: Keys
) -> None:
    tables: dict[str, Any] = {}
    test_cells = []
    for name, fitted in fits.items():
        model = fitted.attach(pbmc_counts)
        test_cells.append(np.sort(model.test_indices))
        latent = pd.DataFrame(model.get_latent_representation(), index=pbmc_counts.obs_names)
        graph = nearest_graph(pbmc_counts.obs_names, latent.to_numpy())
        tables |= {
            f"{name}__scores": {
                "model": name,
                "elbo_test": float(model.get_elbo(indices=model.test_indices)),
            },
            f"{name}__score_draws": pd.DataFrame(),
            f"{name}__latent": latent,
            f"{name}__seed_clusters": cluster_again(graph, OPTIONS, 0),
            f"{name}__seed_markers": rank_genes_of_labels(fitted, pbmc_counts, keys, DE, OPTIONS, 0, "cpu"),
        }
    np.testing.assert_array_equal(test_cells[0], test_cells[1])
    scores, agreement, genes, summary = compare_seeds({"name": "scvi"}, OPTIONS, 0, **tables)
    assert scores["metric"].tolist() == ["elbo_test"]
    assert 0 < scores["sd"].iloc[0] < 50
    between = agreement[agreement["kind"] == "between"].groupby("measure")[["value", "chance"]].mean()
    assert 0.1 < between.loc["leiden_ari", "value"] < 1
    assert between.loc["neighbor_overlap", "value"] > 3 * between.loc["neighbor_overlap", "chance"]
    assert between.loc["gene_jaccard", "value"] > 3 * between.loc["gene_jaccard", "chance"]
    b_cells = genes[(genes["group"] == "CD19+ B") & (genes["n_fits_in_top"] == 3)]
    assert {"CD79A", "MS4A1", "CD79B"} & set(b_cells["symbol"])
    assert summary["sentences"][0].startswith("With 3 seeds, Leiden clusters of scvi agree at an ARI of 0.")


@pytest.mark.slow
def test_one_fit_ranks_genes_alike_and_by_clusters_as_by_labels(
    fits: dict[str, SavedModel], pbmc_counts: AnnData, keys: Keys
) -> None:
    labels = pbmc_counts.obs[[keys.label_key]].set_axis(["leiden"], axis=1)
    of_labels = rank_genes_of_labels(fits["scvi"], pbmc_counts, keys, DE, OPTIONS, 3, "cpu")
    of_clusters = rank_genes_of_clusters(fits["scvi"], pbmc_counts, labels, DE, OPTIONS, 3, "cpu")
    pd.testing.assert_frame_equal(of_labels, of_clusters)
    sizes = pbmc_counts.obs[keys.label_key].value_counts()
    assert set(of_labels["group"]) == set(sizes.index[sizes >= DE.min_cells_per_group])
    assert of_labels.groupby(["draw", "group"])["rank"].max().max() == OPTIONS.top_genes
    assert (of_labels["lfc_median"] > 0).all()
    assert (of_labels.groupby(["draw", "group"])["score"].diff().dropna() <= 0).all()
    first, again = (of_labels[of_labels["draw"] == draw].reset_index(drop=True) for draw in (0, 1))
    assert not first["lfc_median"].equals(again["lfc_median"])


def test_without_groups_large_enough_there_are_no_genes() -> None:
    unread: Any = SimpleNamespace(attach=lambda *_: None)
    counts = AnnData(np.ones((4, 2), np.float32))
    clusters = pd.DataFrame({"leiden": pd.Categorical(list("aabb"))}, index=counts.obs_names)
    found = rank_genes_of_clusters(unread, counts, clusters, DE, OPTIONS, 0, "cpu")
    assert found.empty
    assert {"group", "gene", "symbol", "rank", "draw"} <= set(found)


def rbo_by_definition(a: list[str], b: list[str], p: float) -> float:
    """(1 - p) Σ p^(d-1) A_d, with the agreement beyond the lists' ends as Webber et al. extrapolate it."""
    short, long = sorted((a, b), key=len)
    s, n = len(short), len(long)
    seen = [len(set(short[:d]) & set(long[:d])) for d in range(n + 1)]
    total = 0.0
    for d in range(1, 5000):
        if d <= s:
            agreement = seen[d] / d
        elif d <= n:
            agreement = (seen[d] + seen[s] * (d - s) / s) / d
        else:
            agreement = (seen[n] - seen[s]) / n + seen[s] / s
        total += (1 - p) * p ** (d - 1) * agreement
    return total


@given(ITEMS, ITEMS, P)
def test_rank_biased_overlap_is_the_sum_that_defines_it(a: list[str], b: list[str], p: float) -> None:
    found = rank_biased_overlap(a, b, p)
    assert found == pytest.approx(rbo_by_definition(a, b, p), abs=1e-9)
    assert found == pytest.approx(rank_biased_overlap(b, a, p), abs=1e-12)


@given(ITEMS, P)
def test_equal_lists_agree_and_disjoint_ones_do_not(a: list[str], p: float) -> None:
    assert rank_biased_overlap(a, a, p) == pytest.approx(1)
    assert rank_biased_overlap(a, [f"other {item}" for item in a], p) == 0
    assert jaccard(a, list(reversed(a))) == 1


def test_the_top_counts_most() -> None:
    truth = list("abcdefghij")
    top_swapped, end_swapped = list("bacdefghij"), list("abcdefghji")
    assert rank_biased_overlap(truth, top_swapped) < rank_biased_overlap(truth, end_swapped) < 1


def test_lists_without_items_have_no_overlap_to_speak_of() -> None:
    assert np.isnan(rank_biased_overlap([], ["a"]))
    assert np.isnan(jaccard_by_chance(10, 0))
    assert jaccard([], []) == 1


def test_chance_is_what_random_choices_give() -> None:
    random = np.random.default_rng(0)
    chosen = [[str(i) for i in random.choice(300, 50, replace=False)] for _ in range(40)]
    found = np.mean([jaccard(a, b) for a, b in combinations(chosen, 2)])
    assert found == pytest.approx(jaccard_by_chance(50, 300), abs=0.005)
    assert jaccard_by_chance(50, 50) == 1
