from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from scvi_downstream.errors import InputError
from scvi_downstream.models import parse_spec
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.pipelines.proteins import nodes
from scvi_downstream.pipelines.proteins.held_out import choose_held_out
from scvi_downstream.pipelines.proteins.imputation import (
    METHODS,
    neighbor_means,
    score_imputation,
    score_predictions,
)

from .conftest import KEYS, MARKERS_OF_A, MARKERS_OF_B, OPTIONS, SPEC, principal_components, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def score(counts: AnnData, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return score_imputation(
        counts, principal_components(counts), parse_spec(SPEC), KEYS, OPTIONS,
        seed=0, accelerator="cpu", checkpoints=CheckpointStore(folder / "checkpoint"),
    )  # fmt: skip


def random_predictions(noise: float) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(0)
    measured = pd.DataFrame(random.normal(size=(80, 3)), columns=["a", "b", "c"])
    predicted = {method: measured + noise * random.normal(size=(80, 3)) for method in METHODS}
    predicted["mean"] = measured * 0 + 1.0
    return predicted | {"measured": measured}


def test_correlations_are_scipys_and_lie_in_their_intervals() -> None:
    predicted = random_predictions(noise=1.0)
    table = score_predictions(predicted, n_bootstrap=500, seed=0)
    for row in table[table["method"] != "mean"].itertuples():
        x, y = predicted[str(row.method)][row.protein], predicted["measured"][row.protein]
        assert row.pearson == pytest.approx(pearsonr(x, y).statistic)
        assert row.spearman == pytest.approx(spearmanr(x, y).statistic)
        assert row.pearson_lower < row.pearson < row.pearson_upper
        # scipy's interval by Fisher's transformation, which is exact for normal numbers
        fisher = pearsonr(x, y).confidence_interval()
        assert row.pearson_lower == pytest.approx(fisher.low, abs=0.07)
        assert row.pearson_upper == pytest.approx(fisher.high, abs=0.07)


def test_the_neighbours_do_not_differ_from_themselves_and_a_constant_is_correlated_with_nothing() -> None:
    table = score_predictions(random_predictions(noise=1.0), n_bootstrap=100, seed=0)
    baseline = table[table["method"] == "knn_pca"]
    assert (baseline[["minus_knn", "minus_knn_lower", "minus_knn_upper"]] == 0).all(axis=None)
    constant = table[table["method"] == "mean"]
    assert (constant["pearson"] == 0).all()
    assert constant["pearson_lower"].isna().all()


def test_noise_is_correlated_with_nothing() -> None:
    predicted = random_predictions(noise=1.0)
    predicted["measured"] = pd.DataFrame(np.random.default_rng(7).normal(size=(80, 3)), columns=list("abc"))
    table = score_predictions(predicted, n_bootstrap=300, seed=0)
    rows = table[table["method"] == "totalvi"]
    assert ((rows["pearson_lower"] < 0) & (rows["pearson_upper"] > 0)).all()


def test_neighbours_are_those_of_a_full_search() -> None:
    counts = simulate(60)
    (held_out,) = choose_held_out(counts, KEYS, OPTIONS, 0)
    points = principal_components(counts).to_numpy()
    logged = np.log1p(counts.obsm["protein_expression"].to_numpy())
    sources = ~held_out.cells
    found = neighbor_means(points, logged, sources, held_out, 4)
    for row, cell in zip(found, points[held_out.cells], strict=True):
        nearest = np.argsort(np.linalg.norm(points[sources] - cell, axis=1))[:4]
        np.testing.assert_allclose(row, logged[sources][nearest].mean(axis=0))
    changed = logged.copy()
    changed[held_out.cells] = 99.0
    np.testing.assert_array_equal(neighbor_means(points, changed, sources, held_out, 4), found)


def test_other_models_and_counts_without_proteins_are_refused(tmp_path: Path) -> None:
    counts = simulate(30)
    rest = (KEYS, OPTIONS, 0, "cpu", CheckpointStore(tmp_path / "checkpoint"))
    components = principal_components(counts)
    with pytest.raises(
        InputError, match="proteins needs a model of the family TOTALVI, and SCVI has no proteins"
    ):
        nodes.score_protein_imputation(counts, components, {"name": "scvi", "family": "SCVI"}, *rest)
    del counts.obsm["protein_expression"]
    with pytest.raises(InputError, match="bring no proteins .* set protein_key"):
        nodes.score_protein_imputation(counts, components, SPEC, *rest)


@pytest.mark.slow
def test_hidden_proteins_of_a_batch_are_imputed(tmp_path: Path) -> None:
    counts = simulate()
    before = counts.obsm["protein_expression"].copy()
    scores, values = score(counts, tmp_path)
    pd.testing.assert_frame_equal(counts.obsm["protein_expression"], before)
    found = scores[scores["method"] == "totalvi"].set_index("protein")
    assert set(scores["held_out"]) == {"one"}
    assert (found.loc[[*MARKERS_OF_A, *MARKERS_OF_B], "pearson"] > 0.7).all()
    assert (found["n_cells"] == 80).all()
    assert len(values) == 80 * 6
    table = values.pivot(index="cell", columns="protein", values="measured")
    expected = np.log1p(counts.obsm["protein_expression"].loc[table.index, table.columns])
    np.testing.assert_allclose(table.to_numpy(), expected.to_numpy(), rtol=1e-6)


@pytest.mark.slow
def test_proteins_permuted_over_cells_cannot_be_imputed(tmp_path: Path) -> None:
    counts = simulate()
    table = counts.obsm["protein_expression"]
    order = np.random.default_rng(1).permutation(counts.n_obs)
    counts.obsm["protein_expression"] = pd.DataFrame(table.to_numpy()[order], table.index, table.columns)
    scores, _ = score(counts, tmp_path)
    for method in ("totalvi", "knn_pca", "knn_latent"):
        found = scores[scores["method"] == method]
        assert abs(found["pearson"].median()) < 0.2, method
        assert (found["pearson"] < 0.35).all(), method
