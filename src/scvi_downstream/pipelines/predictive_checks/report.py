"""Posterior predictive checks in the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.predictive_checks.evidence import STRATA
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named

SECTION = Section(
    "Predictive checks",
    "Does the primary model generate counts like those observed? Counts of held-out cells are generated again from the "
    "latent state that the model infers of each cell (the model), from states of other cells of the same batch and "
    "library size (the model without the cell's state), and by a negative binomial and a Poisson without any state. "
    "The last three know the same of a cell and compare on equal terms; the model has seen the very counts, so that it "
    "can only look too good. A PIT histogram is flat where predictive intervals are right, a bowl where they are too "
    "narrow, a hill where they are too wide. A generated overdispersion far above both the observed one and that of "
    "the negative binomial can mean gene dispersions that have not settled: they start at random, and few cells or "
    "epochs leave them there.",
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
        Item(
            dataset="predictive_checks",
            caption="All checks: observed, expected, the 95 % interval of one of them, posterior predictive p.",
            file=OUTPUT + "predictive_checks.csv",
            groups=("source", "cells"),
            columns=names(
                "check genes source cells n_cells observed expected discrepancy interval lower upper inside p"
            ),
            folded=True,
        ),
        Item(
            dataset="predictive_genes",
            caption="Genes as observed and as generated.",
            file=OUTPUT + "predictive_genes.parquet",
            groups=("source", "cells"),
            columns=names(
                "symbol source cells mean_observed mean_predicted variance_observed variance_predicted zeros_observed "
                "zeros_predicted zeros_lower zeros_upper coverage_95 p p_adjusted outlier differs_in"
            ),
            order="outlier",
            folded=True,
        ),
        Item(
            dataset="predictive_summary",
            caption="What the checks say, in words and numbers.",
            file=OUTPUT + "predictive_summary.json",
            folded=True,
        ),
    ),
)


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


def describe_missed(checks: pd.DataFrame, primary: str) -> str:
    """How many checks are passed, and how the others are missed, the largest ratio first.

    Parameters
    ----------
    checks
        Of the model and held-out cells.
    primary
        Name of the model.
    """
    own = checks[checks["check"].isin(COUNT_CHECKS)]
    missed = own[~own["inside"].astype(bool)]
    levels = missed[missed["check"].isin(LEVELS)]
    ratio = np.maximum(levels["expected"], 1e-12) / np.maximum(levels["observed"], 1e-12)
    order = np.argsort(-np.abs(np.log(ratio.to_numpy(np.float64))), kind="stable")
    said = [_level(row) for row in levels.iloc[order].itertuples()]
    if further := [DISTANCES[name] for name in missed["check"] if name in DISTANCES]:
        said.append(f"{_listed(further)} further off than sets of its own draws are")
    named = "test cells" if own["share"].iloc[0] == "test" else "test and validation cells"
    missing = f": {'; '.join(said)}" if said else ""
    return (
        f"Counts that {primary} generates for {own['n_cells'].iloc[0]:,} {named} pass {len(own) - len(missed)} of "
        f"{len(own)} checks{missing}."
    )


def _level(row: Any) -> str:
    words = LEVELS[row.check][int(row.expected > row.observed)]
    if row.check == "zero_fraction":
        return f"{words} ({row.expected:.1%} against {row.observed:.1%} observed)"
    return f"{words} ({row.expected:.3g} against {row.observed:.3g} observed)"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


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


def describe_predictive_checks(study: Any, keys: Keys, graph: Study) -> str:
    """How generated counts were compared with those observed."""
    options = study.predictive_checks
    batch = " and batch" if keys.batch_key else ""
    return (
        f"Counts of at most {options.max_cells:,} held-out cells were generated {options.n_samples} times by "
        f"`{graph.primary}` ({named('scvi-tools')} [@gayoso2022]): from the cell's own posterior q(z | x) (a posterior "
        "predictive check [@gelman1996], conservative since it conditions on the counts that are checked), and from "
        f"the states of training cells among the 50 nearest in library size{' of the same batch' if batch else ''}. "
        "Baselines without latent states are a Poisson and a negative binomial with the cell's library size, shares of "
        f"genes{' by batch' if batch else ''}, and one dispersion a gene, fitted to training cells by maximum "
        "likelihood. Statistics of the observed counts (zeros, library size, overdispersion, correlations of the "
        f"{options.correlation_genes} most variable genes, moments of genes) were placed among those of the draws; "
        "distances between observed and mean generated values among the distances of each set of draws from the "
        "others. Calibration was measured by randomised probability integral transforms [@czado2009] of the rank of "
        "each count among its draws, for which coverage is exact for discrete counts, and by the continuous ranked "
        "probability score [@gneiting2007] of log(1 + count) [@bosse2023], with 95 % bootstrap intervals over cells "
        "[@efron1979]. Mean, zeros and spread of log(1 + count) of each gene were tested against a shifted gamma "
        "distribution with the first three cumulants of the draws (Bonferroni over the three, then "
        f"[@benjamini1995] at an FDR of {options.fdr:g})."
    )
