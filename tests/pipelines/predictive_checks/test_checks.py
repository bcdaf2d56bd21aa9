"""The checks of fitted models against scvi-tools' own, of simulated counts against what is planted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.predictive_checks.checks import (
    check_calibration,
    check_counts,
    check_predictions,
    check_table,
    compare_genes,
    quantiles,
    tail_probabilities,
)
from scvi_downstream.pipelines.predictive_checks.draws import own_draws
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.pipelines.predictive_checks.report import summarize_predictions
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import defaults_of

from .conftest import fit

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

    from scvi_downstream.models.saved import SavedModel

OPTIONS = defaults_of(PredictiveCheckOptions, n_samples=30, correlation_genes=40)
GENES = pd.Index([f"g{i}" for i in range(200)])


def checked(simulated, source: str) -> pd.DataFrame:
    evidence = simulated.evidence(source)
    other = simulated.evidence("nb") if source != "nb" else None
    rows = check_counts(evidence, simulated.reference) + check_calibration(evidence, other, 0)
    return check_table(rows).set_index(["check", "genes"])


def outliers(simulated, source: str) -> pd.DataFrame:
    return compare_genes(simulated.evidence(source), simulated.reference, GENES, GENES.to_numpy(), 0.05)


def test_negative_binomial_counts_are_calibrated_under_their_law_and_not_under_a_poisson(
    overdispersed,
) -> None:
    right, wrong = checked(overdispersed, "nb"), checked(overdispersed, "poisson")
    for genes in ("all", "0.1 to 1", "1 and more"):
        for name, nominal in (("coverage_50", 0.5), ("coverage_80", 0.8), ("coverage_95", 0.95)):
            assert right.loc[(name, genes), "observed"] == pytest.approx(nominal, abs=0.02)
        assert right.loc[("pit_dispersion", genes), "observed"] == pytest.approx(1, abs=0.05)
    assert wrong.loc[("coverage_95", "1 and more"), "observed"] < 0.8
    assert wrong.loc[("pit_dispersion", "1 and more"), "observed"] > 1.3
    assert wrong.loc[("crps_gain", "1 and more"), "upper"] < 0
    assert not wrong.loc[("zero_fraction", "all"), "inside"]
    assert not wrong.loc[("overdispersion", "all"), "inside"]
    assert wrong.loc[("gene_variance", "all"), "p"] == pytest.approx(1 / 41)


@pytest.mark.thorough
def test_statistics_of_counts_lie_among_those_of_the_right_law(simulated) -> None:
    passed = [
        check_table(check_counts(counts.evidence("nb"), counts.reference)).set_index("check")["inside"]
        for counts in (simulated(seed, poisson=False, n_held_out=100) for seed in range(10, 20))
    ]
    share = pd.DataFrame(passed).drop(columns="correlation_agreement").astype(float).mean()
    for name in ("zero_fraction", "zero_fraction_sd", "library_size", "overdispersion", "gene_variance"):
        assert share[name] >= 0.7, name  # 0.95 expected of ten, less what the fitted parameters err
    assert share.mean() >= 0.8


def test_poisson_counts_are_calibrated_under_a_poisson(equidispersed) -> None:
    table = checked(equidispersed, "poisson")
    assert table.loc[("coverage_95", "all"), "observed"] == pytest.approx(0.95, abs=0.01)
    assert table.loc[("pit_dispersion", "all"), "observed"] == pytest.approx(1, abs=0.03)
    assert abs(table.loc[("crps_gain", "all"), "observed"]) < 0.005
    assert table.loc[("zero_fraction", "all"), "inside"]
    assert table.loc[("crps", "all"), "observed"] == pytest.approx(
        table.loc[("crps", "all"), "expected"], rel=0.02
    )


@pytest.mark.thorough
def test_genes_of_the_right_law_are_not_called(simulated) -> None:
    p_values, called = [], 0
    for seed in range(8):
        table = outliers(simulated(seed, poisson=seed % 2 == 1, n_held_out=70), "nb")
        called += int(table["outlier"].any())
        p_values.append(table[["p_mean", "p_zeros", "p_spread"]].stack())
    p = pd.concat(p_values)
    # under the null, one table in twenty may hold a call
    assert called <= 3
    for level in (0.05, 0.01, 0.001):
        assert (p <= level).mean() < 1.4 * level + 3 * np.sqrt(level / len(p))
    assert (p <= 0.2).mean() > 0.08, "tests without power are no tests"


def test_genes_of_the_wrong_law_are_called_in_what_differs(overdispersed) -> None:
    table = outliers(overdispersed, "poisson")
    expressed = table["mean_observed"] > 1
    assert table.loc[expressed, "outlier"].mean() > 0.7
    assert set(table.loc[table["outlier"], "differs_in"]) <= {"mean", "zeros", "spread"}
    few = overdispersed.reference.mean * 150 < 5
    assert table.loc[few, "p"].isna().all()
    assert (table["zeros_lower"] <= table["zeros_upper"]).all()


def test_intervals_of_genes_hold_what_is_observed(overdispersed) -> None:
    table = outliers(overdispersed, "nb")
    for measure in ("mean", "zeros", "spread", "variance"):
        inside = (table[f"{measure}_lower"] <= table[f"{measure}_observed"]) & (
            table[f"{measure}_observed"] <= table[f"{measure}_upper"]
        )
        # 40 draws give a variance's interval ends that are a little too near
        assert inside.mean() > (0.85 if measure == "variance" else 0.9), measure
    dense = overdispersed.counts[overdispersed.held_out].toarray()
    np.testing.assert_allclose(table["mean_observed"], dense.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["variance_observed"], dense.var(axis=0, ddof=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["zeros_observed"], (dense == 0).mean(axis=0))


@given(st.floats(-3, 3), st.floats(-4, 6))
def test_tails_are_those_of_scipys_pearson_type_three(skewness: float, z: float) -> None:
    skewness = np.sign(skewness or 1) * max(abs(skewness), 0.05)
    below, above = tail_probabilities(np.array([z]), np.array([skewness]))
    law = stats.pearson3(skewness)
    assert below[0] == pytest.approx(law.cdf(z), rel=1e-6, abs=1e-12)
    assert above[0] == pytest.approx(law.sf(z), rel=1e-6, abs=1e-12)


def test_without_skewness_they_are_normal() -> None:
    z = np.linspace(-4, 4, 9)
    below, above = tail_probabilities(z, np.zeros(9))
    np.testing.assert_allclose(below, stats.norm.cdf(z), rtol=0.03)
    np.testing.assert_allclose(above, stats.norm.sf(z), rtol=0.03)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.975])
def test_quantiles_undo_the_probabilities(probability: float) -> None:
    skewness = np.array([-2.0, -0.3, 0.0, 0.4, 2.5])
    below, _ = tail_probabilities(quantiles(probability, skewness), skewness)
    np.testing.assert_allclose(below, probability, rtol=1e-6)


class Attached:
    """A fitted model that needs no loading."""

    def __init__(self, model: BaseModelClass) -> None:
        self.model = model

    def attach(self, counts: AnnData, accelerator: str) -> BaseModelClass:
        return self.model


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
    generated[held_out] = own_draws(model, 2, 0)(held_out)[0]
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
