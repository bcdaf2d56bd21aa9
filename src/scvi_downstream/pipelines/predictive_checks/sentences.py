"""What the checks say, in sentences and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters.predictive_checks import PredictiveCheckOptions

from .ranks import STRATA
from .verdict import COUNT_CHECKS, describe_missed

SOURCES = ("model", "population", "nb", "poisson")
_N_GENES = 5


def summarize_checks(
    checks: pd.DataFrame, genes: pd.DataFrame, primary: str, options: PredictiveCheckOptions
) -> dict[str, Any]:
    """Numbers of each source, and at most eight sentences.

    Parameters
    ----------
    checks, genes
        Of :func:`.nodes.check_predictions`.
    primary
        Name of the model.
    options
        FDR.

    Returns
    -------
    Per source of held-out cells ``n_met`` of ``n_checks``, ``n_outliers`` of ``n_tested``, ``coverage_95`` of
    genes with a mean count of one and more (of all where there are none), ``crps``; ``n_cells``, ``n_genes``;
    ``sentences``.
    """
    held_out = checks[checks["cells"] == "held-out"]
    of_genes = genes[genes["cells"] == "held-out"]
    numbers = {source: _numbers(held_out, of_genes, source) for source in SOURCES}
    sentences = [
        describe_missed(held_out[held_out["source"] == "model"], primary),
        _against_baseline(held_out, primary),
        _passed_by_others(numbers),
        _coverage(held_out, primary),
        _outliers(of_genes, primary, numbers, options.fdr),
        _correlations(held_out, primary),
        _overfitting(checks, primary),
        f"{primary} has seen the counts of each cell that it generates again, so that its p-values are too large "
        "rather than too small and its score is a little too good; the model without the cell's own state and the "
        "baselines know only the library size and the batch of a cell.",
    ]
    return {
        "n_cells": int(held_out["n_cells"].iloc[0]),
        "n_genes": int((of_genes["source"] == "model").sum()),
        **numbers,
        "sentences": [text for text in sentences if text],
    }


def _numbers(checks: pd.DataFrame, genes: pd.DataFrame, source: str) -> dict[str, Any]:
    own = checks[checks["source"] == source]
    counted = own[own["check"].isin(COUNT_CHECKS)]
    of_genes = genes[genes["source"] == source]
    return {
        "n_met": int(counted["inside"].sum()),
        "n_checks": len(counted),
        "n_outliers": int(of_genes["outlier"].sum()),
        "n_tested": int(of_genes["p"].notna().sum()),
        "coverage_95": float(_row(own, source, "coverage_95", _stratum(own))["observed"]),
        "crps": float(_row(own, source, "crps", "all")["observed"]),
    }


def _against_baseline(checks: pd.DataFrame, primary: str) -> str:
    own, population = (_row(checks, source, "crps_gain", "all") for source in ("model", "population"))
    if own["upper"] < 0:
        verdict = f"A negative binomial without latent states predicts the counts better than {primary}"
    elif own["lower"] <= 0:
        verdict = f"A negative binomial without latent states predicts the counts as well as {primary}"
    else:
        verdict = f"{primary} predicts the counts better than a negative binomial without latent states"
    if population["lower"] > 0:
        equal = "better than that baseline"
    elif population["upper"] < 0:
        equal = "worse than that baseline"
    else:
        equal = "as well as that baseline"
    return (
        f"{verdict}: with the cell's own state, its score (CRPS of log counts) gains {_percent(own)}; knowing library "
        f"size and batch alone, it does {equal} (gain {_percent(population)})."
    )


def _passed_by_others(numbers: dict[str, Any]) -> str:
    passed = {source: numbers[source]["n_met"] for source in SOURCES}
    return (
        f"A negative binomial without latent states passes {passed['nb']} of these {numbers['nb']['n_checks']} checks, "
        f"a Poisson {passed['poisson']}, the model without the cell's own state {passed['population']}; with many "
        "cells small differences are missed checks, too, so that their size matters."
    )


def _coverage(checks: pd.DataFrame, primary: str) -> str:
    stratum = _stratum(checks)
    rows = {source: _row(checks, source, "coverage_95", stratum) for source in ("model", "nb", "poisson")}
    own = rows["model"]
    judged = (
        "as they should" if own["inside"] else "too few" if own["observed"] < own["expected"] else "too many"
    )
    genes = "all genes" if stratum == "all" else f"genes with a mean count of {stratum}"
    return (
        f"Predictive intervals of 95 % from {primary} hold {own['observed']:.1%} of the counts of {genes} "
        f"({own['lower']:.1%} to {own['upper']:.1%}: {judged}); from the negative binomial "
        f"{rows['nb']['observed']:.1%}, from the Poisson {rows['poisson']['observed']:.1%}."
    )


def _outliers(genes: pd.DataFrame, primary: str, numbers: dict[str, Any], fdr: float) -> str:
    own = genes[(genes["source"] == "model") & genes["outlier"]].sort_values("p", kind="stable")
    named = ", ".join(f"{row.symbol} ({row.differs_in})" for row in own.head(_N_GENES).itertuples())
    more = f", led by {named}" if named else ""
    others = {source: numbers[source]["n_outliers"] for source in SOURCES}
    return (
        f"{len(own)} of {numbers['model']['n_tested']} testable genes are generated by {primary} otherwise than "
        f"observed at FDR {fdr:g}{more}; by the negative binomial {others['nb']}, by the Poisson {others['poisson']}, "
        f"without the cell's own state {others['population']}."
    )


def _correlations(checks: pd.DataFrame, primary: str) -> str:
    rows = {
        source: _row(checks, source, "correlation_agreement", "all")
        for source in ("model", "population", "nb")
    }
    own = rows["model"]
    if not np.isfinite(own["observed"]):
        return ""
    baseline = rows["nb"]["observed"]
    without = f", r = {baseline:.2f} for the negative binomial" if np.isfinite(baseline) else ""
    return (
        f"Gene–gene correlations generated by {primary} agree with those observed by r = {own['observed']:.2f}, where "
        f"its own draws reach {own['expected']:.2f} (r = {rows['population']['observed']:.2f} without the cell's own "
        f"state{without})."
    )


def _overfitting(checks: pd.DataFrame, primary: str) -> str:
    own = checks[checks["source"] == "model"]
    stratum = _stratum(own)
    held_out, training = (
        _row(own[own["cells"] == name], "model", "coverage_95", stratum) for name in ("held-out", "training")
    )
    text = f"Of training cells these intervals hold {training['observed']:.1%}"
    if held_out["upper"] >= training["lower"]:
        return f"{text}, about as of held-out cells: no overfitting shows."
    if held_out["upper"] < held_out["expected"]:
        return f"{text}, of held-out cells less, and too few: {primary} overfits."
    return (
        f"{text}, more than of held-out cells: {primary} follows cells that it was trained on more closely."
    )


def _percent(row: pd.Series) -> str:
    observed, lower, upper = (round(float(row[name]), 3) + 0.0 for name in ("observed", "lower", "upper"))
    return f"{observed:.1%} ({lower:.1%} to {upper:.1%})"  # + 0.0: there is no -0.0 %


def _stratum(checks: pd.DataFrame) -> str:
    """Genes of a mean count of one and more, where intervals are most easily too narrow; all where there are none."""
    return STRATA[-1] if (checks["genes"] == STRATA[-1]).any() else "all"


def _row(checks: pd.DataFrame, source: str, check: str, genes: str) -> pd.Series:
    chosen = checks[(checks["source"] == source) & (checks["check"] == check) & (checks["genes"] == genes)]
    return chosen.iloc[0]
