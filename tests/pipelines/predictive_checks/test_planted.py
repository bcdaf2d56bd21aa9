"""What is known of simulated counts is found, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.predictive_checks.checks import (
    check_calibration,
    check_counts,
    check_table,
    compare_genes,
)

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


def test_blocks_do_not_matter_for_what_was_observed(overdispersed, monkeypatch: pytest.MonkeyPatch) -> None:
    from scvi_downstream.pipelines.predictive_checks import evidence as module

    whole = overdispersed.evidence("nb")
    monkeypatch.setattr(module, "_ENTRIES_AT_ONCE", 40 * 200 * 7)
    parts = overdispersed.evidence("nb")
    assert len(parts.ranks.scores) > len(whole.ranks.scores)
    np.testing.assert_allclose(parts.genes.squares[0], whole.genes.squares[0], rtol=1e-5)
    np.testing.assert_allclose(parts.correlations.pairs()[0], whole.correlations.pairs()[0], atol=1e-4)
    np.testing.assert_array_equal(parts.totals[0], whole.totals[0])


def test_correlations_are_numpys(overdispersed) -> None:
    evidence = overdispersed.evidence("nb")
    dense = overdispersed.counts[overdispersed.held_out].toarray()
    logs = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)[:, overdispersed.reference.correlated]
    above = np.triu_indices(logs.shape[1], 1)
    np.testing.assert_allclose(evidence.correlations.pairs()[0], np.corrcoef(logs.T)[above], atol=2e-3)
