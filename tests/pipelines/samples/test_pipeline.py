from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.table_datasets import CSVDataset, ParquetDataset
from scvi_downstream.pipelines.samples.abundance import compare_sample_abundance
from scvi_downstream.pipelines.samples.comparison import cluster_samples, compare_samples
from scvi_downstream.pipelines.samples.distances import read_latent_z
from scvi_downstream.pipelines.samples.expression import compare_sample_expression, decode_as_samples
from scvi_downstream.pipelines.samples.pipeline import template
from scvi_downstream.pipelines.samples.plots import (
    plot_sample_abundance,
    plot_sample_distances,
    plot_sample_expression,
    plot_sample_map,
)
from scvi_downstream.pipelines.samples.report import summarize_samples
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import replicates_of

RESPONDING = {f"gene{i}" for i in range(8)}


def through_files(table: pd.DataFrame, folder: Path, name: str) -> pd.DataFrame:
    """As the next node gets the table."""
    kind = CSVDataset if name.endswith(".csv") else ParquetDataset
    dataset = kind(filepath=folder / name)
    dataset.save(table)
    return dataset.load()


def analyse(study: Any, folder: Path, keys: Keys | None = None) -> SimpleNamespace:
    keys = keys or study.keys
    read = (study.fitted, study.counts, study.clusters)
    compute = (keys, study.options, 0, "cpu")
    distances, effects = compare_samples(*read, *compute)
    distances = through_files(distances, folder, "distances.csv")
    effects = through_files(effects, folder, "effects.csv")
    clusters = cluster_samples(distances, study.counts, study.clusters, keys, study.options)
    expression = through_files(compare_sample_expression(*read, *compute), folder, "expression.parquet")
    ratios, abundance = compare_sample_abundance(*read, *compute)
    abundance = through_files(abundance, folder, "abundance.csv")
    counterfactuals = decode_as_samples(*read, expression, *compute)
    summary = summarize_samples(
        distances, effects, expression, abundance, study.counts, study.clusters, keys, study.options
    )
    return SimpleNamespace(
        distances=distances,
        effects=effects.set_index("group"),
        clusters=through_files(clusters, folder, "clusters.csv"),
        expression=expression,
        ratios=ratios,
        abundance=abundance.set_index("group"),
        counterfactuals=counterfactuals,
        summary=summary,
    )


@pytest.fixture(scope="module")
def found(study: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return analyse(study, tmp_path_factory.mktemp("found"))


def test_it_reads_the_model_and_what_was_made_of_it() -> None:
    free = {name for name in template().inputs() if not name.startswith("params:")}
    assert free == {"fitted", "counts", "clusters", "umap"}


@pytest.mark.slow
def test_conditions_part_the_samples_of_the_type_that_responds(found: SimpleNamespace) -> None:
    responds, rests = found.effects.loc["A"], found.effects.loc["B"]
    assert responds["silhouette"] > 0.5
    assert responds["silhouette_p"] == responds["effect_p"] == 2 / 64
    assert responds["n_pairs"] == 6
    assert responds["share_of_cells"] > 0.9
    assert responds["effect"] > 2 * rests["effect"]
    assert responds["above_noise"] > responds["above_noise_within"]
    clusters = found.clusters[found.clusters["group"] == "A"]
    assert 2 <= clusters["cluster"].nunique() <= 4
    assert clusters.groupby("cluster")["condition"].nunique().max() == 1


@pytest.mark.slow
def test_planted_genes_are_found_by_the_model_and_by_sums_of_counts(found: SimpleNamespace) -> None:
    table = found.expression[found.expression["group"] == "A"].set_index("gene")
    assert set(table["lfc"].nlargest(len(RESPONDING)).index) == RESPONDING  # shares of other genes fall
    planted = table.loc[sorted(RESPONDING)]
    assert (planted["lfc"] > 0.7).all()
    assert (planted["share_of_cells"] > 0.9).all()
    assert (planted["pseudobulk_p_adjusted"] < 0.05).all()
    other = found.expression[(found.expression["group"] == "B")]
    assert (other["lfc"].abs() < 0.7).all()


@pytest.mark.slow
def test_counterfactual_expression_is_what_the_other_samples_show(found: SimpleNamespace) -> None:
    table = found.counterfactuals
    rows = table[(table["group"] == "A") & table["gene"].isin(RESPONDING)]
    assert len(rows)
    assert np.corrcoef(np.log(rows["counterfactual"] + 1), np.log(rows["observed"] + 1))[0, 1] > 0.9


@pytest.mark.slow
def test_the_verdict_names_the_type_and_the_genes(found: SimpleNamespace) -> None:
    text = " ".join(found.summary["sentences"])
    assert "compared 12 samples of 'donor' × 'condition' in 6 blocks of 'donor' (found" in text
    assert "stim against ctrl: samples are parted in " in text
    assert "it moves A most" in text
    assert "are found in the same direction by tests of counts summed by sample" in text
    assert RESPONDING & set(found.summary["top_genes"]["A"])
    assert found.summary["n_pairs"] == 6


@pytest.mark.slow
def test_figures_show_every_group(found: SimpleNamespace, study: Any) -> None:
    umap = pd.DataFrame(
        np.random.default_rng(0).normal(size=(study.counts.n_obs, 2)),
        index=study.counts.obs_names,
        columns=["UMAP1", "UMAP2"],
    )
    effects = found.effects.reset_index()
    heat = plot_sample_distances(found.distances, found.clusters, study.counts, study.keys)
    assert {"all cells", "A", "B"} <= {axes.get_title() for axes in heat.axes}
    maps = plot_sample_map(found.distances, found.clusters, effects, study.counts, study.keys)
    assert any("silhouette" in axes.get_title() for axes in maps.axes)
    dots = plot_sample_expression(found.expression, study.options)
    assert dots.axes[0].get_title() == "stim against ctrl"
    abundance = plot_sample_abundance(umap, found.ratios, found.abundance.reset_index())
    assert abundance.axes[0].get_title() == "stim against ctrl"


@pytest.mark.slow
def test_fake_conditions_part_nothing(null_study: Any, tmp_path: Path) -> None:
    found = analyse(null_study, tmp_path)
    assert (found.effects["silhouette_p"] > 0.05).all()
    assert (found.effects["effect_p"] > 0.05).all()
    assert (found.effects["silhouette"] < 0.25).all()
    assert (found.abundance["p"] > 0.05).all()
    assert not (found.expression["pseudobulk_p_adjusted"] <= 0.05).any()
    assert "are parted in none of 2 groups" in " ".join(found.summary["sentences"])


@pytest.mark.slow
def test_samples_without_conditions_are_described(study: Any, tmp_path: Path) -> None:
    keys = replicates_of(sample_key="donor_x_condition", label_key="cell_type")
    found = analyse(study, tmp_path, keys)
    assert found.effects.empty
    assert found.expression.empty
    assert len(found.ratios) == study.counts.n_obs
    assert found.ratios.shape[1] == 0
    assert len(found.counterfactuals)
    assert "no condition_key is set" in " ".join(found.summary["sentences"])
    assert plot_sample_expression(found.expression, study.options).texts
    heat = plot_sample_distances(found.distances, found.clusters, study.counts, study.keys)
    assert {"all cells", "A", "B"} <= {axes.get_title() for axes in heat.axes}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_tables(study: Any) -> None:
    read = (study.fitted, study.counts, study.clusters, study.keys, study.options)
    first, again = (compare_samples(*read, 3, "cpu") for _ in range(2))
    pd.testing.assert_frame_equal(first[0], again[0])
    pd.testing.assert_frame_equal(first[1], again[1])


@pytest.mark.slow
def test_z_is_the_models(study: Any) -> None:
    z = read_latent_z(study.fitted, study.counts, "cpu")
    assert list(z.columns) == [f"z_{i + 1}" for i in range(8)]
    assert np.array_equal(z.to_numpy(), study.model.get_latent_representation(give_z=True))


@pytest.mark.slow
def test_an_unknown_gene_names_the_closest(study: Any) -> None:
    options = study.options.model_copy(update={"genes": ("gene1O",)})
    with pytest.raises(
        InputError, match="'gene1O' is not among the 60 modelled genes; the closest is 'gene1"
    ):
        decode_as_samples(
            study.fitted, study.counts, study.clusters, pd.DataFrame(), study.keys, options, 0, "cpu"
        )
