from __future__ import annotations

import pandas as pd
import pytest

from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.pipelines.predictive_checks.report import (
    COUNT_CHECKS,
    describe_missed,
    summarize_predictions,
)
from scvi_downstream.study.defaults import defaults_of

OPTIONS = defaults_of(PredictiveCheckOptions)


def row(check: str, source: str, observed: float, expected: float, **more: object) -> dict[str, object]:
    base = {
        "check": check, "genes": "all", "source": source, "cells": "held-out", "n_cells": 50, "share": "test",
        "observed": observed, "expected": expected, "lower": observed - 0.01, "upper": observed + 0.01,
        "inside": True,
    }  # fmt: skip
    return base | more


def checks_of(**missed: tuple[float, float]) -> list[dict[str, object]]:
    rows = []
    for source in ("model", "population", "nb", "poisson"):
        for check in COUNT_CHECKS:
            observed, expected = missed.get(check, (1.0, 1.0))
            rows.append(row(check, source, observed, expected, inside=check not in missed))
        rows.append(row("coverage_95", source, 0.95, 0.95))
        rows.append(row("crps", source, 0.2, 0.2))
        rows.append(row("correlation_agreement", source, 0.5, 0.6))
        if source != "nb":
            rows.append(row("crps_gain", source, 0.0, 0.0))
    return [*rows, row("coverage_95", "model", 0.95, 0.95, cells="training")]


def genes_of() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": ["A", "B"] * 4,
            "source": ["model", "model", "population", "population", "nb", "nb", "poisson", "poisson"],
            "cells": "held-out",
            "p": 0.5,
            "outlier": [True, False, *[False] * 6],
            "differs_in": ["zeros", *[""] * 7],
        }
    )


def test_what_is_missed_is_said_with_its_direction() -> None:
    table = pd.DataFrame(checks_of(zero_fraction=(0.6, 0.7), overdispersion=(2.0, 0.5), gene_mean=(0.2, 0.1)))
    text = describe_missed(table[(table["source"] == "model") & (table["cells"] == "held-out")], "scvi")
    assert text == (
        "Counts that scvi generates for 50 test cells pass 6 of 9 checks: too little overdispersion (0.5 against 2 "
        "observed); too many zeros (70.0% against 60.0% observed); means of genes further off than sets of its own "
        "draws are."
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.05, 0.07, "scvi predicts the counts better than a negative binomial"),
        (-0.01, 0.01, "A negative binomial without latent states predicts the counts as well as scvi"),
        (-0.07, -0.05, "A negative binomial without latent states predicts the counts better than scvi"),
    ],
)
def test_the_baseline_is_given_its_due(low: float, high: float, said: str) -> None:
    table = pd.DataFrame(checks_of())
    gain = table["check"].eq("crps_gain") & table["source"].eq("model")
    table.loc[gain, ["observed", "lower", "upper"]] = [(low + high) / 2, low, high]
    sentences = summarize_predictions(table, genes_of(), "scvi", OPTIONS)["sentences"]
    assert sentences[0] == "Counts that scvi generates for 50 test cells pass 9 of 9 checks."
    assert sentences[1].startswith(said)
    assert "-0.0%" not in " ".join(sentences)
    assert any("1 of 2 testable genes" in text and "A (zeros)" in text for text in sentences)


@pytest.mark.parametrize(
    ("held_out", "training", "said"),
    [(0.95, 0.95, "no overfitting shows"), (0.85, 0.95, "scvi overfits"), (0.955, 0.98, "more closely")],
)
def test_overfitting_is_said(held_out: float, training: float, said: str) -> None:
    table = pd.DataFrame(checks_of())
    for cells, value in (("held-out", held_out), ("training", training)):
        chosen = table["check"].eq("coverage_95") & table["source"].eq("model") & table["cells"].eq(cells)
        table.loc[chosen, ["observed", "lower", "upper"]] = [value, value - 0.002, value + 0.002]
    assert said in " ".join(summarize_predictions(table, genes_of(), "scvi", OPTIONS)["sentences"])
