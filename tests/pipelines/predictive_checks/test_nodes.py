"""The checks of fitted models, against scvi-tools' own and against what is planted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import model_class_of
from scvi_downstream.pipelines.predictive_checks.draws import (
    StatePool,
    choose_cells,
    other_cells,
    own_draws,
    pool_states,
    population_draws,
)
from scvi_downstream.pipelines.predictive_checks.nodes import check_predictions, summarize_predictions
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

    from scvi_downstream.models.saved import SavedModel

OPTIONS = PredictiveCheckOptions(n_samples=30, correlation_genes=40)


class Attached:
    """A fitted model that needs no loading."""

    def __init__(self, model: BaseModelClass) -> None:
        self.model = model

    def attach(self, counts: AnnData, accelerator: str) -> BaseModelClass:
        return self.model


class Split:
    """What of a model decides on the cells."""

    def __init__(self, train: int, validation: int, test: int) -> None:
        ends = np.cumsum([train, validation, test])
        self.train_indices = np.arange(ends[0])
        self.validation_indices = np.arange(ends[0], ends[1])
        self.test_indices = np.arange(ends[1], ends[2])


def fit(family: str, cells: AnnData, *, epochs: int = 3, **arguments: object) -> BaseModelClass:
    import scvi

    cells = cells.copy()
    setup: dict[str, object] = {"batch_key": "batch"}
    if family == "SCANVI":
        setup |= {"labels_key": "label", "unlabeled_category": "unknown"}
    if family == "MRVI":
        setup |= {"sample_key": "sample"}
    if family == "TOTALVI":
        setup |= {"protein_expression_obsm_key": "protein_expression"}
    with quiet():
        scvi.settings.seed = 0
        model_class_of(family).setup_anndata(cells, **setup)
        model = model_class_of(family)(cells, **arguments)
        model.train(
            max_epochs=epochs, train_size=0.7, validation_size=0.1, batch_size=32, accelerator="cpu",
            enable_progress_bar=False,
        )  # fmt: skip
    return model


def cells_of(counts: np.ndarray) -> AnnData:
    rng = np.random.default_rng(7)
    cells = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    cells.obs["batch"] = pd.Categorical(np.where(np.arange(len(counts)) % 2, "a", "b"))
    cells.obs["sample"] = pd.Categorical(np.where(np.arange(len(counts)) % 3, "s", "t"))
    cells.obs["label"] = pd.Categorical(np.array(["unknown", "x", "y"])[np.arange(len(counts)) % 3])
    cells.obsm["protein_expression"] = pd.DataFrame(
        rng.poisson(5, size=(len(counts), 3)), index=cells.obs_names, columns=["p", "q", "r"]
    )
    return cells


@pytest.fixture(scope="module")
def unstructured() -> AnnData:
    """Negative binomial counts of 300 cells without any structure."""
    rng = np.random.default_rng(0)
    mean = 10 ** rng.uniform(-0.7, 1, 60)
    return cells_of(rng.poisson(rng.gamma(3, mean / 3, size=(300, 60)) * rng.lognormal(0, 0.3, (300, 1))))


def test_cells_are_test_cells_where_there_are_enough() -> None:
    labels = pd.Series(pd.Categorical(np.where(np.arange(200) % 4, "x", "y")))
    cells = choose_cells(Split(140, 20, 40), [labels, None], 20, 0)  # type: ignore[arg-type]
    assert cells.share == "test"
    assert set(cells.held_out) <= set(range(160, 200))
    assert len(cells.held_out) == 20
    assert labels.iloc[cells.held_out].eq("y").sum() == 5
    assert set(cells.training) <= set(range(140))
    few = choose_cells(Split(140, 20, 5), [], 100, 0)  # type: ignore[arg-type]
    assert few.share == "test and validation"
    assert len(few.held_out) == 25
    with pytest.raises(InputError, match=r"leaves 4; lower training\.train_size"):
        choose_cells(Split(140, 2, 2), [], 100, 0)  # type: ignore[arg-type]


def test_other_cells_are_of_the_batch_and_about_the_size() -> None:
    import torch

    rng = np.random.default_rng(0)
    batch = np.repeat([0, 2], [200, 30])
    library = np.concatenate([np.sort(rng.lognormal(7, 1, 200)), np.sort(rng.lognormal(7, 1, 30))])
    pool = StatePool(torch.zeros((230, 2)), batch, library)
    chosen = other_cells(pool, np.array([0, 2, 1]), np.array([library[100], 1e9, 10.0]), 500, rng)
    assert chosen.shape == (500, 3)
    assert set(chosen[:, 0]) == set(range(75, 125))
    assert set(chosen[:, 1]) == set(range(200, 230))
    assert chosen[:, 2].min() >= 0
    assert chosen[:, 2].max() < 230


@pytest.mark.slow
def test_draws_have_the_moments_that_scvi_tools_own_check_finds(
    fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys
) -> None:
    from scvi.criticism import PosteriorPredictiveCheck

    model = fitted_scvi.attach(pbmc_counts)
    checks, genes, _, _, _ = check_predictions(fitted_scvi, pbmc_counts, keys, OPTIONS, 0, "cpu")
    own = genes[(genes["source"] == "model") & (genes["cells"] == "held-out")].set_index("gene")
    with quiet():
        theirs = PosteriorPredictiveCheck(
            model.adata, {"ours": model}, n_samples=30, indices=np.sort(model.test_indices)
        )
        theirs.zero_fraction()
        theirs.coefficient_of_variation("cells")
    # scvi-tools calls the share of counts above zero 'zero_fraction'
    positive = theirs.metrics["zero_fraction"].loc[own.index]
    np.testing.assert_allclose(1 - own["zeros_observed"], positive["Raw"], atol=1e-6)
    np.testing.assert_allclose(1 - own["zeros_predicted"], positive["ours"], atol=0.06)
    assert (1 - own["zeros_predicted"] - positive["ours"]).abs().mean() < 0.015
    variation = theirs.metrics["cv_gene"].loc[own.index]
    n_cells = checks["n_cells"].iloc[0]
    observed = np.sqrt(own["variance_observed"] * (n_cells - 1) / n_cells) / own["mean_observed"]
    seen = own["mean_observed"] > 0
    np.testing.assert_allclose(observed[seen], variation["Raw"][seen], rtol=1e-3)
    frequent = own["mean_observed"] > 0.5
    ours = np.sqrt(own["variance_predicted"]) / own["mean_predicted"]
    assert np.abs(np.log(ours / variation["ours"]))[frequent].median() < 0.06


@pytest.mark.slow
def test_the_whole_on_the_demonstration(fitted_scvi: SavedModel, pbmc_counts: AnnData, keys: Keys) -> None:
    tables = check_predictions(fitted_scvi, pbmc_counts, keys, OPTIONS, 0, "cpu")
    again = check_predictions(fitted_scvi, pbmc_counts, keys, OPTIONS, 0, "cpu")
    for one, two in zip(tables, again, strict=True):
        pd.testing.assert_frame_equal(one, two)
    checks, genes, cells, calibration, correlations = tables
    n_genes = len(fitted_scvi.genes)
    assert len(genes) == 5 * n_genes
    assert len(correlations) == 40 * 39 // 2
    assert set(checks["source"]) == {"model", "population", "nb", "poisson"}
    np.testing.assert_allclose(calibration.groupby(["source", "cells", "genes"])["share"].sum(), 1)
    assert cells.groupby(["source", "cells"], observed=True)["cell"].nunique().min() >= 70
    summary = summarize_predictions(checks, genes, "scvi", OPTIONS)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["sentences"][0].startswith("Counts that scvi generates for 70 test cells pass ")
    assert summary["nb"]["coverage_95"] == pytest.approx(0.95, abs=0.015)
    assert summary["poisson"]["coverage_95"] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("SCVI", {"gene_likelihood": "nb"}),
        ("SCVI", {"gene_likelihood": "poisson", "use_observed_lib_size": False}),
        ("LinearSCVI", {}),
        ("SCANVI", {"gene_likelihood": "nb"}),
        ("DRVI", {"gene_likelihood": "pnb"}),
        ("TOTALVI", {}),
        ("MRVI", {}),
    ],
)
def test_every_family_draws_counts(unstructured: AnnData, family: str, arguments: dict[str, object]) -> None:
    model = fit(family, unstructured, epochs=2, **arguments)
    cells = np.arange(12)
    pool = pool_states(model, np.arange(100))
    for draw in (own_draws(model, 20), population_draws(model, pool, 20, 0)):
        counts = draw(cells)
        assert counts.shape == (20, 12, 60)
        assert counts.dtype == np.float32
        assert (counts >= 0).all()
        np.testing.assert_array_equal(counts, np.rint(counts))
    if getattr(model.module, "use_observed_lib_size", True):  # two epochs teach no encoder of library sizes
        assert counts.sum(axis=2).mean() == pytest.approx(unstructured.X[:12].sum(axis=1).mean(), rel=0.3)


@pytest.mark.slow
def test_a_likelihood_without_counts_is_refused(unstructured: AnnData) -> None:
    model = fit("SCVI", unstructured, epochs=1, gene_likelihood="normal")
    with pytest.raises(InputError, match="generates no counts"):
        own_draws(model, 20)(np.arange(3))


@pytest.mark.slow
def test_without_structure_the_baseline_does_as_well_and_the_models_own_counts_raise_no_alarm(
    unstructured: AnnData,
) -> None:
    model = fit("SCVI", unstructured, epochs=60, gene_likelihood="nb", n_latent=2, n_hidden=16)
    checks, genes, _, _, _ = check_predictions(
        Attached(model), unstructured, Keys(batch_key="batch"), OPTIONS, 0, "cpu"  # type: ignore[arg-type]
    )  # fmt: skip
    summary = summarize_predictions(checks, genes, "scvi", OPTIONS)
    gain = checks[(checks["check"] == "crps_gain") & (checks["genes"] == "all")].set_index("source")
    assert gain.loc["population", "observed"] < 0.01
    assert gain.loc["model", "observed"] < 0.03
    assert summary["nb"]["n_outliers"] <= 1
    assert "A negative binomial without latent states" in " ".join(summary["sentences"][1:3])

    # counts that the model itself generates of the held-out cells
    own = unstructured.copy()
    held_out = np.sort(model.test_indices)
    generated = own.X.tolil()
    generated[held_out] = own_draws(model, 2)(held_out)[0]
    own.X = generated.tocsr()
    model.adata.X = own.X
    checks, genes, _, _, _ = check_predictions(
        Attached(model), own, Keys(batch_key="batch"), OPTIONS, 0, "cpu"  # type: ignore[arg-type]
    )  # fmt: skip
    held = genes[(genes["source"] == "model") & (genes["cells"] == "held-out")]
    assert held["outlier"].sum() <= 1
    assert (held["p_zeros"] <= 0.05).mean() <= 0.12
    coverage = checks[
        (checks["source"] == "model") & (checks["cells"] == "held-out") & (checks["genes"] == "all")
    ]
    assert coverage.set_index("check").loc["coverage_95", "observed"] == pytest.approx(0.95, abs=0.02)
