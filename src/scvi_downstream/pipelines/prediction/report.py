"""Expression predicted under other conditions, in the report: its section, and the verdicts in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.prediction.comparison import (
    CHOSEN,
    MEAN_SHIFT,
    MEASURED_HALF,
    NO_CHANGE,
    POOLED_SHIFT,
    TARGET_MEAN,
    UNCHANGED,
)
from scvi_downstream.pipelines.prediction.scores import ALL_GROUPS, MIN_BLOCKS, best_model, list_models
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import count

SECTION = Section(
    "Prediction under other conditions",
    "What cells of one condition would express in another, predicted by models that have not seen the cells it is "
    "compared with. What is delivered is the method that explains most of the change measured in the held-out cells, "
    "which may be the mean shift of the training cells, and no change where none surely explains any. The change says "
    "more than the expression: expression correlates highly with any other, as most genes never change. Another half "
    "of the measured cells shows how far noise lets a measurement agree; a smooth prediction can do better than that.",
    (
        Item(
            "prediction_scores_figure",
            "Agreement of each method with the held-out cells, for every cell type and their mean.",
        ),
        Item(
            "prediction_changes_figure",
            "Predicted against measured change of every gene, as delivered, and by the best model or the mean shift.",
        ),
        Item(
            "prediction_genes_figure",
            "Genes that respond most: measured in the source and in the target, and predicted.",
        ),
        result(
            "prediction_groups.csv",
            "Cell types compared: held-out cells, genes that respond, and whether the change is larger than "
            "with conditions given to cells at random, which is not calibrated for donors: where only samples differ, "
            "67 % of p-values are below 0.05; predictor: the method that is delivered.",
        ),
        result(
            "prediction_differences.csv",
            "How much better each model is than each baseline (positive: better).",
            groups=("target", "method"),
            folded=True,
        ),
        result(
            "prediction_scores.csv",
            "All scores with 95 % intervals.",
            groups=("target", "group"),
            folded=True,
        ),
        result(
            "predicted_expression.parquet",
            "Measured and predicted log expression of every gene, the largest measured change first.",
            groups=("target", "group"),
            columns=names(
                "target group symbol source measured measured_lower measured_upper change p_adjusted responds "
                "predictor predicted predicted_lower predicted_upper scvi scvi_lower scvi_upper mrvi mrvi_lower "
                "mrvi_upper mean_shift pooled_shift target_mean"
            ),
            order="change",
            folded=True,
        ),
        result(
            "prediction_by_gene.parquet",
            "How far predictions follow each gene across samples and cell types.",
            groups=("target",),
            order="mean_change",
            folded=True,
        ),
        result("prediction_summary.json", "Verdict and numbers.", folded=True),
    ),
)

NOTHING = "nothing to predict"
NAMES = {
    "scvi": "scVI",
    "mrvi": "MrVI",
    NO_CHANGE: "no change",
    MEAN_SHIFT: "the mean shift of the training cells",
    POOLED_SHIFT: "one mean shift for all cell types",
    TARGET_MEAN: "the mean of the training cells in the target",
    MEASURED_HALF: "another half of the measured cells",
}
ENDS = ["ci_lower", "ci_upper"]


def summarize_prediction(
    prediction_design: dict[str, Any],
    prediction_scores: pd.DataFrame,
    prediction_differences: pd.DataFrame,
    prediction_groups: pd.DataFrame,
    **training: dict[str, Any],
) -> dict[str, Any]:
    """What is delivered, and whether predictions beat no change, in numbers and sentences, these first.

    Parameters
    ----------
    prediction_design
        Of :func:`.design.hold_out_cells`.
    prediction_scores, prediction_differences, prediction_groups
        Of :func:`.scores.compare_predictions`.
    training
        Summaries of the models' trainings, by model.

    Returns
    -------
    ``source``, ``held_out``, ``held_out_names``, ``seconds``; ``targets``: by target ``verdict`` on the best model
    (``better than no change``, ``no better than no change``, ``worse than no change``, ``nothing to predict``),
    ``models`` (verdict on each), ``predictor`` (the method that is delivered), ``n_groups``, ``n_groups_that_change``
    and ``scores`` (method → score → value, low, high); and ``sentences``. Where nothing was predicted ``reason``,
    ``targets`` and ``sentences``.
    """
    design = prediction_design
    if "reason" in design:
        reason = design["reason"]
        return {"reason": reason, "targets": {}, "sentences": [f"Nothing was predicted: {reason}."]}
    targets: dict[str, Any] = {}
    choices, verdicts = [], []
    for target in prediction_groups["target"].astype(str).unique():
        groups = prediction_groups[prediction_groups["target"] == target]
        scores, gains = (
            table[(table["target"] == target) & (table["group"] == ALL_GROUPS)]
            for table in (prediction_scores, prediction_differences)
        )
        models = list_models(scores)
        n_changing = int(groups["changes"].sum())
        if n_changing:
            found = {model: f"{_against_no_change(model, scores, gains)[0]} no change" for model in models}
            best = best_model(scores)
            verdict = found[best]
            verdicts.append(_verdict(best, design["source"], target, groups, scores, gains))
            choices.append(_choice(design["source"], target, groups, scores))
        else:
            verdict, found = NOTHING, dict.fromkeys(models, NOTHING)
            verdicts.append(_nothing_changes(design["source"], target, groups, scores))
        targets[target] = {
            "verdict": verdict,
            "models": found,
            "predictor": str(groups["predictor"].iloc[0]),
            "n_groups": len(groups),
            "n_groups_that_change": n_changing,
            "scores": {
                str(method): {
                    row.score: {"value": row.value, "low": row.ci_lower, "high": row.ci_upper}
                    for row in rows.itertuples()
                }
                for method, rows in scores.groupby("method", sort=False)
            },
        }
    return {
        "source": design["source"],
        "held_out": design["held_out"],
        "held_out_names": design["held_out_names"],
        "seconds": {model: float(summary["seconds"]) for model, summary in training.items()},
        "targets": targets,
        "sentences": [*choices, *verdicts, f"{design['description']}.", _about_intervals(design)],
    }


def _nothing_changes(source: str, target: str, groups: pd.DataFrame, scores: pd.DataFrame) -> str:
    return (
        f"There is nothing to predict from '{source}' to '{target}': in none of {count(len(groups), 'group')} "
        "is the measured change larger than when conditions are given to cells at random "
        f"(smallest adjusted p = {groups['change_p_adjusted'].min():.2g}), and two halves of the cells agree on it "
        f"with r = {_format_score(scores, MEASURED_HALF, 'delta_pearson')}; no change is delivered."
    )


def _choice(source: str, target: str, groups: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Which method is delivered, and how much of the measured change each explains."""
    predictor, there = groups["predictor"].iloc[0], set(scores["method"]) - {MEASURED_HALF, NO_CHANGE}
    explained = {name: _format_score(scores, name, "explained") for name in (*there, MEASURED_HALF)}
    honest = f"chosen for each group by the other groups' scores, methods explain {explained[CHOSEN]}"
    if len(groups) == 1:
        honest = "it was chosen by this score, which is therefore a little too high"
    others = [f"{name} {explained[key]}" for key, name in NAMES.items() if key in there - {predictor}]
    return (
        f"'{target}' is predicted from '{source}' by {NAMES[predictor]}: it explains "
        f"{explained.get(predictor, '0')} of the change measured in held-out cells ({honest}), where no change "
        f"explains 0, {', '.join(others)}, and a perfect prediction {explained[MEASURED_HALF]}, which is what two "
        "halves of the cells share."
    )


def _verdict(
    model: str, source: str, target: str, groups: pd.DataFrame, scores: pd.DataFrame, gains: pd.DataFrame
) -> str:
    errors = scores[scores["score"] == "rmse_top"].set_index("method")["value"]
    how, gain = _against_no_change(model, scores, gains)
    value, low, high = (100 * gain[name] / errors[model + UNCHANGED] for name in ("better_by", *ENDS))
    from_cells = 100 * (1 - errors[model] / errors[NO_CHANGE])
    return (
        f"{NAMES[model]} predicts '{target}' from '{source}' {how} no change: the error of the genes that "
        f"change most is {_format_error(value)} (95 % interval {low:.0f} to {high:.0f} %) than with the same cells "
        f"decoded unchanged, {_format_error(from_cells)} than with the measured source, and the predicted change of "
        f"all genes correlates with the measured one with r = {_format_score(scores, model, 'delta_pearson')}, where "
        f"{NAMES[MEASURED_HALF]} reaches {_format_score(scores, MEASURED_HALF, 'delta_pearson')} (mean of "
        f"{count(len(groups), 'group')}, of which {int(groups['changes'].sum())} change)."
    )


def _against_no_change(model: str, scores: pd.DataFrame, gains: pd.DataFrame) -> tuple[str, pd.Series]:
    """Whether a model's change is worth more than none, and its gain over the same cells decoded unchanged."""
    gain = gains[
        (gains["method"] == model) & (gains["versus"] == model + UNCHANGED) & (gains["score"] == "rmse_top")
    ].iloc[0]
    # a model that changes no gene has no correlation
    correlation = scores[(scores["method"] == model) & (scores["score"] == "delta_pearson")]
    if gain["ci_lower"] > 0 and (correlation["ci_lower"] > 0).any():
        return "better than", gain
    if gain["ci_upper"] < 0 or (correlation["ci_upper"] < 0).any():
        return "worse than", gain
    return "no better than", gain


def _format_error(percent: float) -> str:
    return f"{percent:.0f} % smaller" if percent >= 0 else f"{-percent:.0f} % larger"


def _about_intervals(design: dict[str, Any]) -> str:
    over = "cells, not samples, so they do not speak for other samples,"
    if design["held_out"] == "paired samples" and len(design["held_out_names"]) >= MIN_BLOCKS:
        over = "held-out samples and their cells"
    return (
        f"Intervals are over {over} with the fitted models as they are; the cell types and modelled genes were chosen "
        "with all cells known."
    )


def _format_score(scores: pd.DataFrame, method: str, score: str) -> str:
    row = scores[(scores["method"] == method) & (scores["score"] == score)]
    if row.empty:
        return "undefined"
    value, low, high = row.iloc[0][["value", *ENDS]]
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """What predicts the first target, and how much of the measured change it explains."""
    summary = contents.get("prediction_summary")
    if not summary:
        return None
    if not summary["targets"]:
        return Headline("Nothing could be predicted", Trust.UNCERTAIN)
    target, found = next(iter(summary["targets"].items()))
    if found["predictor"] == NO_CHANGE:
        return Headline(
            f"No method surely explains any change to {target}: no change is delivered", Trust.FAILS
        )
    # of several groups each one's method was chosen by the others
    honest = CHOSEN if found["n_groups"] > 1 else found["predictor"]
    explained = found["scores"][honest]["explained"]
    text = f"{explained['value']:.0%} of the measured change to {target} is explained, by {NAMES[found['predictor']]}"
    sure = explained["low"] is not None and explained["low"] > 0
    return Headline(text, Trust.HOLDS if sure else Trust.UNCERTAIN)
