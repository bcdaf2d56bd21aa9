"""Predictive checks in the report: numbers of each source, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.predictive_checks.evidence import STRATA
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import listed

SECTION = Section(
    "Predictive checks",
    "Does the primary model generate counts like those observed? Counts of held-out cells are generated again from the "
    "latent state that the model infers of each cell (the model), from states of other cells of the same batch and "
    "library size (the model without the cell's state), and by a negative binomial and a Poisson without any state. "
    "The last three know the same of a cell and compare on equal terms; the model has seen the very counts, so that it "
    "can only look too good. A PIT histogram is flat where predictive intervals are right, a bowl where they are too "
    "narrow, a hill where they are too wide. A generated overdispersion far above both the observed one and that of "
    "the negative binomial can mean gene dispersions that have not settled, which few cells or epochs leave where "
    "they began.",
    (
        Item(
            dataset="predictive_moments_figure",
            caption="Variation of genes, zeros and library sizes of held-out cells, observed and generated.",
        ),
        Item(
            dataset="predictive_calibration_figure",
            caption="Calibration of predictive intervals by the mean count of genes, and the score against a negative "
            "binomial without latent states.",
        ),
        Item(
            dataset="predictive_correlation_figure",
            caption="Gene–gene correlations of held-out cells, observed and generated.",
        ),
        result(
            "predictive_checks.csv",
            "All checks: observed, expected, the 95 % interval of one of them, posterior predictive p.",
            groups=("source", "cells"),
            columns=names(
                "check genes source cells n_cells observed expected discrepancy interval lower upper inside p"
            ),
            folded=True,
        ),
        result(
            "predictive_genes.parquet",
            "Genes as observed and as generated.",
            groups=("source", "cells"),
            columns=names(
                "symbol source cells mean_observed mean_predicted variance_observed variance_predicted zeros_observed "
                "zeros_predicted zeros_lower zeros_upper coverage_95 p p_adjusted outlier differs_in"
            ),
            order="outlier",
            folded=True,
        ),
        result("predictive_summary.json", "What the checks say, in words and numbers.", folded=True),
    ),
)
SOURCES = ("model", "population", "nb", "poisson")
LEVELS = {
    "zero_fraction": ("too few zeros", "too many zeros"),
    "zero_fraction_sd": (
        "zeros that vary too little between cells",
        "zeros that vary too much between cells",
    ),
    "library_size": ("too few counts of a cell", "too many counts of a cell"),
    "overdispersion": ("too little overdispersion", "too much overdispersion"),
    "correlation_strength": ("too weak gene–gene correlations", "too strong gene–gene correlations"),
}
"""Statistics, and what they are called when they are generated too low or too high."""
DISTANCES = {
    "gene_mean": "means of genes",
    "gene_variance": "variances of genes",
    "gene_zero_fraction": "zeros of genes",
    "correlation_error": "gene–gene correlations",
}
"""What can lie too far from the average of the draws."""
COUNT_CHECKS = (*LEVELS, *DISTANCES)
# Genes that are named: as many as fit into a sentence.
_N_GENES = 5


def summarize_predictions(
    predictive_checks: pd.DataFrame,
    predictive_genes: pd.DataFrame,
    primary: str,
    options: PredictiveCheckOptions,
) -> dict[str, Any]:
    """Numbers of each source, and at most eight sentences.

    Parameters
    ----------
    predictive_checks, predictive_genes
        Tables of :func:`.checks.check_predictions`.
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
    held_out, genes = (table[table["cells"] == "held-out"] for table in (predictive_checks, predictive_genes))
    # where intervals are most easily too narrow; all genes where none has a mean count of one and more
    stratum = STRATA[-1] if (held_out["genes"] == STRATA[-1]).any() else "all"
    rows = held_out.set_index(["source", "check", "genes"])
    numbers = {}
    for source in SOURCES:
        own = held_out[(held_out["source"] == source) & held_out["check"].isin(COUNT_CHECKS)]
        of_genes = genes[genes["source"] == source]
        numbers[source] = {
            "n_met": int(own["inside"].sum()),
            "n_checks": len(own),
            "n_outliers": int(of_genes["outlier"].sum()),
            "n_tested": int(of_genes["p"].notna().sum()),
            "coverage_95": float(rows.loc[(source, "coverage_95", stratum), "observed"]),
            "crps": float(rows.loc[(source, "crps", "all"), "observed"]),
        }
    covered = {source: rows.loc[(source, "coverage_95", stratum)] for source in ("model", "nb", "poisson")}
    in_training = predictive_checks[predictive_checks["cells"] == "training"]
    trained = in_training.set_index(["source", "check", "genes"]).loc[("model", "coverage_95", stratum)]
    agreement = rows.xs(("correlation_agreement", "all"), level=("check", "genes"))
    gains = rows.xs(("crps_gain", "all"), level=("check", "genes"))
    sentences = [
        describe_missed(held_out[held_out["source"] == "model"], primary),
        _describe_gain(gains.loc["model"], gains.loc["population"], primary),
        f"A negative binomial without latent states passes {numbers['nb']['n_met']} of these "
        f"{numbers['nb']['n_checks']} checks, a Poisson {numbers['poisson']['n_met']}, the model without the cell's "
        f"own state {numbers['population']['n_met']}; with many cells small differences are missed checks, too, so "
        "that their size matters.",
        _describe_coverage(covered, stratum, primary),
        _describe_outliers(genes, primary, numbers, options.fdr),
        _describe_correlations(agreement, primary),
        _describe_overfitting(covered["model"], trained, primary),
        f"{primary} has seen the counts of each cell that it generates again, so that its p-values are too large "
        "rather than too small and its score is a little too good; the model without the cell's own state and the "
        "baselines know only the library size and the batch of a cell.",
    ]
    return {
        "n_cells": int(held_out["n_cells"].iloc[0]),
        "n_genes": int((genes["source"] == "model").sum()),
        **numbers,
        "sentences": [text for text in sentences if text],
    }


def describe_missed(checks: pd.DataFrame, primary: str) -> str:
    """How many checks are passed, and how the others are missed, the largest ratio first.

    ``checks`` are those of the model on held-out cells.
    """
    own = checks[checks["check"].isin(COUNT_CHECKS)]
    missed = own[~own["inside"].astype(bool)]
    levels = missed[missed["check"].isin(LEVELS)]
    ratio = np.maximum(levels["expected"], 1e-12) / np.maximum(levels["observed"], 1e-12)
    order = np.argsort(-np.abs(np.log(ratio.to_numpy(np.float64))), kind="stable")
    how = []
    for row in levels.iloc[order].itertuples():
        words = LEVELS[row.check][int(row.expected > row.observed)]
        digits = ".1%" if row.check == "zero_fraction" else ".3g"
        how.append(f"{words} ({row.expected:{digits}} against {row.observed:{digits}} observed)")
    if further := [DISTANCES[name] for name in missed["check"] if name in DISTANCES]:
        how.append(f"{listed(further)} further off than sets of its own draws are")
    cells = "test cells" if own["share"].iloc[0] == "test" else "test and validation cells"
    missing = f": {'; '.join(how)}" if how else ""
    return (
        f"Counts that {primary} generates for {own['n_cells'].iloc[0]:,} {cells} pass {len(own) - len(missed)} of "
        f"{len(own)} checks{missing}."
    )


def _describe_gain(own: pd.Series, population: pd.Series, primary: str) -> str:
    baseline = "negative binomial without latent states"
    verdict = f"{primary} predicts the counts better than a {baseline}"
    if own["lower"] <= 0:
        how = "better than" if own["upper"] < 0 else "as well as"
        verdict = f"A {baseline} predicts the counts {how} {primary}"
    worse_or_equal = "worse than" if population["upper"] < 0 else "as well as"
    equal = "better than" if population["lower"] > 0 else worse_or_equal
    rows = [row[["observed", "lower", "upper"]].astype(float) for row in (own, population)]
    # + 0.0: there is no -0.0 %
    gained, alone = ("{:.1%} ({:.1%} to {:.1%})".format(*(round(x, 3) + 0.0 for x in row)) for row in rows)
    return (
        f"{verdict}: with the cell's own state, its score (CRPS of log counts) gains {gained}; knowing library size "
        f"and batch alone, it does {equal} that baseline (gain {alone})."
    )


def _describe_coverage(covered: dict[str, pd.Series], stratum: str, primary: str) -> str:
    own = covered["model"]
    few = "too few" if own["observed"] < own["expected"] else "too many"
    judged = "as they should" if own["inside"] else few
    genes = "all genes" if stratum == "all" else f"genes with a mean count of {stratum}"
    return (
        f"Predictive intervals of 95 % from {primary} hold {own['observed']:.1%} of the counts of {genes} "
        f"({own['lower']:.1%} to {own['upper']:.1%}: {judged}); from the negative binomial "
        f"{covered['nb']['observed']:.1%}, from the Poisson {covered['poisson']['observed']:.1%}."
    )


def _describe_outliers(genes: pd.DataFrame, primary: str, numbers: dict[str, Any], fdr: float) -> str:
    own = genes[(genes["source"] == "model") & genes["outlier"]].sort_values("p", kind="stable")
    named = ", ".join(f"{row.symbol} ({row.differs_in})" for row in own.head(_N_GENES).itertuples())
    more = f", led by {named}" if named else ""
    return (
        f"{len(own)} of {numbers['model']['n_tested']} testable genes are generated by {primary} otherwise than "
        f"observed at FDR {fdr:g}{more}; by the negative binomial {numbers['nb']['n_outliers']}, by the Poisson "
        f"{numbers['poisson']['n_outliers']}, without the cell's own state {numbers['population']['n_outliers']}."
    )


def _describe_correlations(agreement: pd.DataFrame, primary: str) -> str:
    r = agreement["observed"]
    if not np.isfinite(r["model"]):
        return ""
    without = f", r = {r['nb']:.2f} for the negative binomial" if np.isfinite(r["nb"]) else ""
    return (
        f"Gene–gene correlations generated by {primary} agree with those observed by r = {r['model']:.2f}, where its "
        f"own draws reach {agreement.loc['model', 'expected']:.2f} (r = {r['population']:.2f} without the cell's own "
        f"state{without})."
    )


def _describe_overfitting(held_out: pd.Series, training: pd.Series, primary: str) -> str:
    text = f"Of training cells these intervals hold {training['observed']:.1%}"
    if held_out["upper"] >= training["lower"]:
        return f"{text}, about as of held-out cells: no overfitting shows."
    if held_out["upper"] < held_out["expected"]:
        return f"{text}, of held-out cells less, and too few: {primary} overfits."
    return (
        f"{text}, more than of held-out cells: {primary} follows cells that it was trained on more closely."
    )


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How many checks the counts pass that the model generates, and whether it beats a model without states."""
    summary = contents.get("predictive_summary")
    if not summary:
        return None
    model, simple = summary["model"], summary["nb"]
    met = f"Generated counts pass {model['n_met']} of {model['n_checks']} checks"
    if model["crps"] >= simple["crps"]:
        return Headline(f"{met} and are no better than those of a negative binomial", Trust.FAILS)
    gain = 1 - model["crps"] / simple["crps"]
    passed = model["n_met"] == model["n_checks"]
    return Headline(
        f"{met}; {gain:.0%} closer than a negative binomial", Trust.HOLDS if passed else Trust.UNCERTAIN
    )
