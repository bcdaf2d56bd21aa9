from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.stability.comparison import (
    cluster_again,
    compare_seeds,
    linear_cka,
    mean_over_pairs,
    nearest_cells,
    recurrence,
    shared_neighbors,
    summarize_stability,
)
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.stability.plots import plot_stability
from scvi_downstream.runtime.errors import InputError

from .conftest import MakeFits, nearest_graph

SPEC = {"name": "scvi"}


def means(agreement: pd.DataFrame, kind: str = "between") -> pd.Series:
    return agreement[agreement["kind"] == kind].groupby("measure")["value"].mean()


def test_fits_that_are_the_same_agree_in_everything(make_fits: MakeFits, options: StabilityOptions) -> None:
    scores, agreement, genes, summary = compare_seeds(SPEC, options, 0, **make_fits(3, noise=0))
    np.testing.assert_allclose(means(agreement), 1)
    assert (genes["n_fits_in_top"] == 3).all()
    assert (genes["best_rank"] == genes["worst_rank"]).all()
    assert scores.set_index("metric").loc["elbo_test", "sd"] == 0
    assert "no less than with the same fit" in summary["sentences"][0]
    assert "clusters of scvi come back with other seeds" in " ".join(summary["sentences"])


def test_unrelated_fits_agree_as_chance_has_it(make_fits: MakeFits, options: StabilityOptions) -> None:
    _, agreement, genes, summary = compare_seeds(SPEC, options, 0, **make_fits(4, noise=0.1, unrelated=True))
    found = means(agreement)
    assert abs(found["leiden_ari"]) < 0.02
    between = agreement[agreement["kind"] == "between"].groupby("measure")[["value", "chance"]].mean()
    for measure in ("neighbor_overlap", "gene_jaccard"):
        assert between.loc[measure, "value"] == pytest.approx(between.loc[measure, "chance"], abs=0.03)
    assert between.loc["cka", "value"] < 0.1
    assert genes["n_fits_in_top"].max() < 4
    text = " ".join(summary["sentences"])
    assert "clusters of scvi do not come back" in text
    assert "0 of 10" in text


def test_noise_of_the_seed_is_told_from_that_of_leiden_and_of_draws(
    make_fits: MakeFits, options: StabilityOptions
) -> None:
    _, agreement, genes, summary = compare_seeds(SPEC, options, 0, **make_fits(5, noise=0.8))
    between, within = means(agreement), means(agreement, "within")
    assert within["gene_jaccard"] == within["gene_rbo"] == 1
    assert 0.3 < between["gene_jaccard"] < 0.95
    assert between["leiden_ari"] <= within["leiden_ari"]
    told = summary["agreement"]["leiden_ari"]
    assert told["n_fits"] == 5
    assert told["low"] <= told["mean"] <= told["high"] <= 1
    in_all = genes[genes["n_fits_in_top"] == 5].groupby("group").size()
    assert {group: record["in_all"] for group, record in summary["genes"].items()} == {
        group: in_all.get(group, 0) for group in ("B", "NK", "T")
    }
    assert any(sentence.startswith("The seed moves elbo_test by") for sentence in summary["sentences"])


def test_genes_are_counted_over_fits(make_fits: MakeFits, options: StabilityOptions) -> None:
    tables = make_fits(3, noise=0.8)
    genes = compare_seeds(SPEC, options, 0, **tables)[2]
    names = ("scvi", "scvi_seed1", "scvi_seed2")
    lists = [
        tables[f"{name}__seed_markers"].query("draw == 0 and group == 'B'").set_index("gene")
        for name in names
    ]
    for row in genes[genes["group"] == "B"].itertuples():
        ranks = [table.loc[row.gene, "rank"] for table in lists if row.gene in table.index]
        assert (row.n_fits_in_top, row.mean_rank, row.best_rank) == (len(ranks), np.mean(ranks), min(ranks))
        assert row.symbol == row.gene.replace("g", "SYMBOL")


def test_failed_fits_are_named_and_left_out(make_fits: MakeFits, options: StabilityOptions) -> None:
    tables = make_fits(3, noise=0.2)
    kinds = ("score_draws", "latent", "seed_clusters", "seed_markers")
    tables |= {f"scvi_seed9__{kind}": pd.DataFrame() for kind in kinds}
    tables["scvi_seed9__scores"] = {"model": "scvi_seed9", "failed": "the loss becomes NaN"}
    _, agreement, _, summary = compare_seeds(SPEC, options, 0, **tables)
    assert "scvi_seed9" not in set(agreement["fit_a"]) | set(agreement["fit_b"])
    assert summary["fits"] == ["scvi", "scvi_seed1", "scvi_seed2"]
    assert summary["sentences"][-1] == "scvi_seed9 failed and is left out: the loss becomes NaN."


@pytest.mark.parametrize("n_fits", [0, 1])
def test_fewer_than_two_fits_say_that_nothing_can_be_said(
    n_fits: int, make_fits: MakeFits, options: StabilityOptions
) -> None:
    failed: dict[str, Any] = {f"scvi_seed{i}__scores": {"failed": "killed"} for i in range(7, 9)} | {
        f"scvi_seed{i}__latent": pd.DataFrame() for i in range(7, 9)
    }
    scores, agreement, genes, summary = compare_seeds(
        SPEC, options, 0, **make_fits(n_fits, noise=0), **failed
    )
    assert scores.empty
    assert agreement.empty
    assert genes.empty
    assert (
        summary["sentences"][0]
        == f"Nothing can be said of seeds for scvi: {n_fits} of {n_fits + 2} fits are there."
    )
    assert plot_stability(scores, agreement, summary).texts


def test_models_without_a_test_of_expression_are_compared_in_the_rest(
    make_fits: MakeFits, options: StabilityOptions
) -> None:
    tables = {
        name: table for name, table in make_fits(3, noise=0.1).items() if not name.endswith("seed_markers")
    }
    _, agreement, genes, summary = compare_seeds(SPEC, options, 0, **tables)
    assert genes.empty
    assert not summary["genes"]
    assert set(agreement["measure"]) == {
        "leiden_ari",
        "leiden_nmi",
        "cluster_jaccard",
        "neighbor_overlap",
        "cka",
    }


def test_other_cells_are_refused(make_fits: MakeFits, options: StabilityOptions) -> None:
    tables = make_fits(2, noise=0)
    tables["scvi_seed1__latent"] = tables["scvi_seed1__latent"].iloc[1:]
    with pytest.raises(InputError, match="'scvi_seed1' was fitted to other cells than 'scvi'"):
        compare_seeds(SPEC, options, 0, **tables)


def test_the_order_of_cells_does_not_matter(make_fits: MakeFits, options: StabilityOptions) -> None:
    tables = make_fits(2, noise=0.3)
    first = compare_seeds(SPEC, options, 0, **tables)[1]
    shuffled = tables | {"scvi_seed1__latent": tables["scvi_seed1__latent"].sample(frac=1, random_state=9)}
    pd.testing.assert_frame_equal(first, compare_seeds(SPEC, options, 0, **shuffled)[1])


def test_all_models_speak_in_one_summary(make_fits: MakeFits, options: StabilityOptions) -> None:
    fits = make_fits(2, noise=0.3)
    one = compare_seeds({"name": "scvi"}, options, 0, **fits)[3]
    other = compare_seeds({"name": "ldvae"}, options, 0, **fits)[3]
    joined = summarize_stability(scvi__seed_summary=one, ldvae__seed_summary=other)
    assert list(joined["models"]) == ["scvi", "ldvae"]
    assert joined["sentences"] == one["sentences"] + other["sentences"]


def test_clusters_are_repeated_with_the_same_seeds_on_every_graph(options: StabilityOptions) -> None:
    random = np.random.default_rng(0)
    cells = pd.Index([f"cell{i}" for i in range(200)])
    latent = np.repeat(np.eye(4) * 20, 50, axis=0) + random.normal(size=(200, 4))
    graph = nearest_graph(cells, latent)
    clusters = cluster_again(graph, options, 7)
    assert list(clusters) == ["leiden", "leiden_2", "leiden_3"]
    assert (pd.crosstab(clusters["leiden"], np.repeat(range(4), 50)) > 0).to_numpy().sum() >= 4
    pd.testing.assert_frame_equal(clusters, cluster_again(graph, options, 7))
    finer = cluster_again(graph, options.model_copy(update={"resolution": 4.0}), 7)
    assert finer["leiden"].nunique() > clusters["leiden"].nunique()


@pytest.mark.thorough
def test_intervals_of_pair_means_cover_the_truth() -> None:
    """Pairs share fits: an interval that took them for independent would cover far less."""
    random = np.random.default_rng(0)
    truth = 2 / np.sqrt(np.pi)  # mean distance of two standard normal draws
    covered, naive = 0, 0
    for _ in range(400):
        x = random.normal(size=6)
        rows = [(f"s{i}", f"s{j}", abs(x[i] - x[j]) / 4) for i, j in combinations(range(6), 2)]
        pairs = pd.DataFrame(rows, columns=["fit_a", "fit_b", "value"])
        found = mean_over_pairs(pairs)
        covered += found["low"] <= truth / 4 <= found["high"]
        reach = 1.96 * pairs["value"].std() / np.sqrt(len(pairs))
        naive += abs(found["mean"] - truth / 4) <= reach
    assert covered / 400 > 0.88
    assert naive < covered


def test_two_fits_have_one_pair_and_no_interval() -> None:
    found = mean_over_pairs(pd.DataFrame({"fit_a": ["a"], "fit_b": ["b"], "value": [0.7]}))
    assert found["mean"] == found["least"] == found["most"] == 0.7
    assert np.isnan(found["low"])


def test_recurrence_is_the_best_jaccard_index() -> None:
    reference = pd.Series(list("aaaabbbbcc"))
    other = pd.Series(list("xxxxxyyyzz"))
    np.testing.assert_allclose(recurrence(reference, other)[["a", "b", "c"]], [4 / 5, 3 / 4, 1])


def test_alignment_ignores_rotation_shift_and_scale_and_neighbours_are_those_of_sklearn() -> None:
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(0)
    latent = random.normal(size=(400, 5))
    turned = 3 * latent @ np.linalg.qr(random.normal(size=(5, 5)))[0] + 7
    assert linear_cka(latent, turned) == pytest.approx(1)
    assert linear_cka(latent, random.normal(size=(400, 5))) < 0.05
    queries = np.arange(0, 400, 3)
    found = nearest_cells(latent, queries, 8)
    theirs = (
        NearestNeighbors(n_neighbors=9).fit(latent).kneighbors(latent[queries], return_distance=False)[:, 1:]
    )
    np.testing.assert_array_equal(np.sort(found), np.sort(theirs))
    assert shared_neighbors(found, nearest_cells(turned, queries, 8)) == 1
    assert np.isnan(linear_cka(np.zeros((9, 2)), latent[:9]))
