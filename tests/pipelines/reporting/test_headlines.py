"""The line of each capability on the first screen: what it says, and when it holds."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from scvi_downstream.pipelines import analyses
from scvi_downstream.report.sections import Section, Trust

HOLDS, UNCERTAIN, FAILS = Trust
STUDY: Any = SimpleNamespace(
    primary="scvi",
    models={"scvi": None},
    likelihoods=("scvi", "ldvae"),
    keys=SimpleNamespace(sample_key="donor"),
    options={"samples": SimpleNamespace(fdr=0.05)},
)
ON_CELLS: Any = SimpleNamespace(**vars(STUDY) | {"keys": SimpleNamespace(sample_key=None)})


def accuracy(low: float, largest: float = 0.3) -> dict[str, Any]:
    score = {"accuracy": low + 0.05, "accuracy_low": low, "accuracy_high": low + 0.1}
    return {"annotation_scores": {"n_types": 9, "consensus": score, "accuracy_of_the_largest_type": largest}}


def clustering(stable: bool) -> dict[str, Any]:
    found = {"recommended_column": "leiden_1", "n_clusters": {"leiden_1": 7}, "stability": {"leiden_1": 0.8}}
    return {"scvi.clustering_summary": found | {"stable": stable}}


def calls(**units: str) -> dict[str, Any]:
    rows = [{"grouping": grouping, "unit": unit, "n_called": 12} for grouping, unit in units.items()]
    return {"de_concordance": pd.DataFrame(rows)}


def batches(verdict: str, lost: int = 0) -> dict[str, Any]:
    after = {f"{name}_{part}": 0.6 for name in ("linear", "neighbor") for part in ("auc", "null_mean")}
    return {"batch_summary": {"verdict": verdict, "after": after, "n_labels_vanished": lost}}


def orders(median: float | None, lowest: float | None, *verdicts: str) -> dict[str, Any]:
    summary = {"agreement": median, "lowest_agreement": lowest}
    return {"trajectory_summary": summary, "trajectory_stability": pd.DataFrame({"verdict": verdicts})}


def imputed(low: float, high: float) -> dict[str, Any]:
    scores = {"best_baseline": "gene_mean", "methods": {"gene_mean": {"poisson_nll": {"value": 1.0}}}}
    return {
        "imputation_scores": scores | {"difference": {"value": (low + high) / 2, "low": low, "high": high}}
    }


def champion(**changes: Any) -> dict[str, Any]:
    known = {"model": "scvi", "criterion": "elbo_test", "value": -512.3, "better_baseline": None}
    return {"champion": known | {"within_noise": []} | changes}


def searched(**changes: Any) -> dict[str, Any]:
    known = {"model": "scvi", "n_trials": 8, "changes": {"n_latent": 20}, "recommended": "scvi_3"}
    return {"search_summary": known | {"test_elbo_gain": 2.5, "test_elbo_gain_low": 1.0} | changes}


def generated(met: int, crps: float) -> dict[str, Any]:
    return {"predictive_summary": {"model": {"n_met": met, "n_checks": 9, "crps": crps}, "nb": {"crps": 0.2}}}


def validated(course: str, *, memorises: bool = False) -> dict[str, Any]:
    elbo = {"value": -500.0, "low": None, "high": None, "sd": 1.0, "n": 1}
    return {"scvi.cv_summary": {"elbo": elbo, "memorises": memorises, "course": course}}


def reseeded(ari: float) -> dict[str, Any]:
    agreement = {"leiden_ari": {"n_fits": 3, "mean": ari, "within": 0.9}}
    return {"stability_summary": {"models": {"scvi": {"agreement": agreement}}}}


def mapped(n_batches: int, shift: float) -> dict[str, Any]:
    found = {"n_query": 100, "n_unknown": 10, "types": ["B", "T"], "share_unlike": 0.02}
    return {"mapping_summary": found | {"n_calibration_batches": n_batches, "shift_ratio": shift}}


def parted(smallest_p: float, p: float | None) -> dict[str, Any]:
    row = {"group": "B", "condition": "stim", "reason": None, "smallest_p": smallest_p}
    summary = {
        "samples": list("abcdefgh"),
        "reference": "ctrl",
        "effects": [row | {"silhouette_p_adjusted": p}],
    }
    return {"sample_summary": summary}


def predicted(predictor: str, low: float) -> dict[str, Any]:
    scores = {predictor: {"explained": {"value": 0.4, "low": low, "high": 0.5}}}
    target = {"predictor": predictor, "n_groups": 1, "scores": scores}
    return {"prediction_summary": {"targets": {"stim": target}}}


def proteins(r: float | None) -> dict[str, Any]:
    scores = [] if r is None else [{"median_pearson": {"knn_pca": r}}]
    return {"protein_summary": {"n_proteins": 14, "imputation": scores, "imputed_by": "knn_pca"}}


def factors(*, follows: bool) -> dict[str, Any]:
    row = {"model": "scvi", "covariate": "type", "kind": "categorical", "unit": "cell", "n": 90}
    table = pd.DataFrame([row | {"effect": 0.8, "eta2": 0.8, "rho": None, "follows": follows}])
    return {
        "factor_associations": table,
        "factor_summary": {"scvi": {"n_followed": int(follows), "n_covariates": 1}},
    }


def annotated(genes: int) -> dict[str, Any]:
    return {"metadata_summary": {"columns": {"age": {"n_genes": genes, "n_groups": 0, "n_dimensions": 0}}}}


def runs(gap: float, error: float | None) -> dict[str, Any]:
    best = {"n": 2, "model": "scvi", "run": "a", "criterion": "elbo_test", "value": 0.0, "next_value": -gap}
    return {
        "run_comparison_summary": {"n_runs": 2, "n_models": 4, "best": [best | {"standard_error": error}]}
    }


def prepared(*warnings: str) -> dict[str, Any]:
    return {"preparation_summary": {"n_cells": 90, "n_cells_raw": 100, "warnings": list(warnings)}}


CASES = [
    ("preparation", prepared(), HOLDS, "90 of 100 cells kept"),
    ("preparation", prepared("one", "two"), UNCERTAIN, "2 warnings to read"),
    (
        "clustering",
        clustering(stable=True),
        HOLDS,
        "7 Leiden clusters; random halves of the cells agree by ARI 0.80",
    ),
    ("clustering", clustering(stable=False), FAILS, "No stable clusters"),
    ("annotation", accuracy(0.85), HOLDS, "90% of held-out cells get their label (85% to 95%)"),
    ("annotation", accuracy(0.6), UNCERTAIN, "9 types"),
    ("annotation", accuracy(0.85, largest=0.9), FAILS, "9 types"),
    ("annotation", {"naming_summary": {"n_named": 3, "n_clusters": 7}}, UNCERTAIN, "3 of 7 clusters"),
    ("reference_mapping", mapped(4, 1.0), HOLDS, "90% get one of 2 labels; 2% unlike"),
    ("reference_mapping", mapped(1, 1.0), UNCERTAIN, "100 cells mapped"),
    ("reference_mapping", mapped(4, 3.0), UNCERTAIN, "100 cells mapped"),
    (
        "de",
        calls(clusters="cells", condition_by_type="samples"),
        HOLDS,
        "Between conditions within a cell type: 12",
    ),
    ("de", calls(clusters="cells"), UNCERTAIN, "cells as replicates"),
    ("factors", factors(follows=True), HOLDS, "1 of 1 covariate, most closely type (η² = 0.80)"),
    ("factors", factors(follows=False), HOLDS, "0 of 1 covariate"),
    (
        "batch_effects",
        batches("removed"),
        HOLDS,
        "Batches are gone after correction (AUC 0.60, by chance 0.60)",
    ),
    ("batch_effects", batches("weaker"), UNCERTAIN, "still there"),
    ("batch_effects", batches("kept"), FAILS, "still there"),
    ("batch_effects", batches("removed", lost=1), FAILS, "1 label lost with them"),
    ("batch_effects", batches("confounded"), UNCERTAIN, "cannot be told apart"),
    ("metadata", annotated(20), HOLDS, "20 genes"),
    ("metadata", annotated(0), HOLDS, "No gene and no group goes with any of 1 annotation"),
    ("samples", parted(0.008, 0.01), HOLDS, "stim against ctrl parts 8 samples in 1 of 1 group"),
    ("samples", parted(0.008, 0.5), HOLDS, "in 0 of 1 group"),
    ("samples", parted(0.2, None), UNCERTAIN, "too few to test"),
    ("trajectory", orders(0.9, 0.8, "stable", "stable"), HOLDS, "median rank correlation of 0.90"),
    ("trajectory", orders(0.9, 0.8, "stable", "uncertain"), UNCERTAIN, "0.90"),
    ("trajectory", orders(0.9, 0.8, "stable", "unstable"), FAILS, "halves of the cells differ"),
    ("trajectory", orders(0.9, 0.5, "stable", "stable"), FAILS, "0.90"),
    ("trajectory", orders(None, None), FAILS, "No two orders"),
    ("proteins", proteins(0.8), HOLDS, "14 proteins denoised; hidden ones come back with r = 0.80"),
    ("proteins", proteins(0.5), UNCERTAIN, "r = 0.50"),
    ("proteins", proteins(0.1), FAILS, "r = 0.10"),
    ("proteins", proteins(None), UNCERTAIN, "not scored"),
    (
        "imputation",
        imputed(-0.04, -0.02),
        HOLDS,
        "better than by the mean of each gene (Poisson loss -3.0 %)",
    ),
    ("imputation", imputed(-0.02, 0.02), UNCERTAIN, "as well as"),
    ("imputation", imputed(0.02, 0.04), FAILS, "worse than"),
    ("prediction", predicted("mean_shift", 0.3), HOLDS, "40% of the measured change to stim"),
    ("prediction", predicted("scvi", -0.1), UNCERTAIN, "is explained, by scVI"),
    ("prediction", predicted("no_change", 0.0), FAILS, "no change is delivered"),
    ("comparison", champion(), HOLDS, "scvi is the model to take (elbo_test -512)"),
    ("comparison", champion(within_noise=["ldvae"]), UNCERTAIN, "ldvae within noise"),
    ("comparison", champion(better_baseline="harmony"), FAILS, "but Harmony scores better"),
    ("comparison", champion(model=None), FAILS, "No model could be scored"),
    ("search", searched(), HOLDS, "scvi_3 is the best of 8 trials: +2.5 nats"),
    ("search", searched(test_elbo_gain_low=-1.0), UNCERTAIN, "+2.5"),
    ("search", searched(test_elbo_gain=-2.0, test_elbo_gain_low=-3.0), FAILS, "-2.0"),
    ("search", searched(changes={}), HOLDS, "None of 8 trials"),
    ("predictive_checks", generated(9, 0.15), HOLDS, "pass 9 of 9 checks; 25% closer"),
    ("predictive_checks", generated(4, 0.15), UNCERTAIN, "pass 4 of 9"),
    ("predictive_checks", generated(9, 0.2), FAILS, "no better"),
    (
        "cross_validation",
        validated("levelled_off"),
        HOLDS,
        "ELBO of scvi on held-out cells: -500.0 nats per cell",
    ),
    ("cross_validation", validated("overfitted"), FAILS, "it overfits"),
    ("cross_validation", validated("levelled_off", memorises=True), FAILS, "it overfits"),
    ("stability", reseeded(0.8), HOLDS, "With 3 seeds clusters agree by ARI 0.80"),
    ("stability", reseeded(0.4), FAILS, "0.40"),
    ("compare_runs", runs(3.0, 1.0), HOLDS, "scvi of run 'a' has the best elbo_test"),
    ("compare_runs", runs(0.5, 1.0), UNCERTAIN, "2 runs, 4 fits"),
]


def line(name: str) -> Any:
    return import_module(f"scvi_downstream.pipelines.{name}.report").headline


@pytest.mark.parametrize(("name", "contents", "trust", "said"), CASES)
def test_line_and_how_far_it_holds(name: str, contents: dict[str, Any], trust: Trust, said: str):
    found = line(name)(contents, STUDY)
    assert said in found.text
    assert found.trust is trust
    assert len(found.text) <= 120


@pytest.mark.parametrize(
    ("name", "contents"), [("factors", factors(follows=True)), ("metadata", annotated(5))]
)
def test_what_was_tested_on_cells_is_uncertain(name: str, contents: dict[str, Any]):
    found = line(name)(contents, ON_CELLS)
    assert found.text.endswith("tested on cells")
    assert found.trust is UNCERTAIN


def test_every_capability_has_a_case_and_says_nothing_without_results():
    speaking = {
        analysis.package.rsplit(".", 1)[1] for analysis in analyses() if hasattr(analysis.report, "headline")
    }
    assert speaking == {name for name, *_ in CASES}
    for name in speaking:
        assert line(name)({}, STUDY) is None, name


def test_a_long_text_of_a_section_leaves_one_sentence_open():
    section = Section("Counts", "Is there depth, i.e. counts? Yes. And more of it.", ())
    assert (section.lead, section.reading) == ("Is there depth, i.e. counts?", "Yes. And more of it.")
    assert Section("Counts", "One sentence.", ()).reading == ""
