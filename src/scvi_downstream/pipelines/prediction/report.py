"""Expression predicted under other conditions, in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.prediction.comparison import (
    MEAN_SHIFT,
    MEASURED_HALF,
    NO_CHANGE,
    POOLED_SHIFT,
    TARGET_MEAN,
    UNCHANGED,
)
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.scores import ALL_GROUPS, MIN_BLOCKS
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named

SECTION = Section(
    "Prediction under other conditions",
    "What cells of one condition would express in another, predicted by models that have not seen the cells it is "
    "compared with. A prediction is worth having when it beats the mean shift of the training cells, not only no "
    "change. The change says more than the expression: expression correlates highly with any other, as most genes "
    "never change. Another half of the measured cells shows how far noise lets any measurement agree; a smooth "
    "prediction can do better than that.",
    (
        Item(
            dataset="prediction_scores_figure",
            caption="Agreement of each method with the held-out cells, for every cell type and their mean.",
        ),
        Item(
            dataset="prediction_changes_figure",
            caption="Predicted against measured change of every gene, by the best model and by the mean shift.",
        ),
        Item(
            dataset="prediction_genes_figure",
            caption="Genes that respond most: measured in the source and in the target, and predicted.",
        ),
        Item(
            dataset="prediction_groups",
            caption="Cell types compared: held-out cells, genes that respond, and whether the change is larger than "
            "with conditions given at random.",
            file=OUTPUT + "prediction_groups.csv",
        ),
        Item(
            dataset="prediction_differences",
            caption="How much better each model is than each baseline (positive: better).",
            file=OUTPUT + "prediction_differences.csv",
            groups=("target", "method"),
            folded=True,
        ),
        Item(
            dataset="prediction_scores",
            caption="All scores with 95 % intervals.",
            file=OUTPUT + "prediction_scores.csv",
            groups=("target", "group"),
            folded=True,
        ),
        Item(
            dataset="predicted_expression",
            caption="Measured and predicted log expression of every gene, the largest measured change first.",
            file=OUTPUT + "predicted_expression.parquet",
            groups=("target", "group"),
            columns=names(
                "target group symbol source measured measured_lower measured_upper change p_adjusted responds "
                "scvi scvi_lower scvi_upper mrvi mrvi_lower mrvi_upper mean_shift pooled_shift target_mean"
            ),
            order="change",
            folded=True,
        ),
        Item(
            dataset="prediction_by_gene",
            caption="How far predictions follow each gene across samples and cell types.",
            file=OUTPUT + "prediction_by_gene.parquet",
            groups=("target",),
            order="mean_change",
            folded=True,
        ),
        Item(
            dataset="prediction_summary",
            caption="Verdict and numbers.",
            file=OUTPUT + "prediction_summary.json",
            folded=True,
        ),
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


def summarize(
    design: Mapping[str, Any],
    scores: pd.DataFrame,
    differences: pd.DataFrame,
    groups: pd.DataFrame,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Numbers and sentences, the verdict on each target first.

    Parameters
    ----------
    design
        Of :func:`.design.hold_out`.
    scores, differences, groups
        Of :func:`.compare.compare_groups`.
    seconds
        Training time by model.

    Returns
    -------
    ``source``, ``held_out``, ``held_out_names``, ``seconds``; ``targets``: by target ``verdict`` on the best model
    (``better than no change``, ``no better than no change``, ``worse than no change``, ``nothing to predict``),
    ``models`` (verdict on each), ``n_groups``, ``n_groups_that_change`` and ``scores`` (method → score → value, low,
    high); and ``sentences``.
    """
    targets: dict[str, Any] = {}
    verdicts: list[str] = []
    details: list[str] = []
    for target in groups["target"].astype(str).unique():
        of_target = groups[groups["target"] == target]
        over_all = scores[(scores["target"] == target) & (scores["group"] == ALL_GROUPS)]
        gains = differences[(differences["target"] == target) & (differences["group"] == ALL_GROUPS)]
        verdict, sentence = _verdict(design, target, of_target, over_all, gains)
        targets[target] = {
            "verdict": verdict,
            "models": {
                model: verdict
                if verdict == NOTHING
                else f"{_against_no_change(model, over_all, gains)[0]} no change"
                for model in _models(over_all)
            },
            "n_groups": len(of_target),
            "n_groups_that_change": int(of_target["changes"].sum()),
            "scores": _nested(over_all),
        }
        verdicts.append(sentence)
        if verdict != NOTHING:
            details += _against_baselines(target, gains, over_all)
    return {
        "source": design["source"],
        "held_out": design["held_out"],
        "held_out_names": design["held_out_names"],
        "seconds": dict(seconds),
        "targets": targets,
        "sentences": [*verdicts, *details, f"{design['description']}.", _about_intervals(design)],
    }


def _verdict(
    design: Mapping[str, Any], target: str, groups: pd.DataFrame, scores: pd.DataFrame, gains: pd.DataFrame
) -> tuple[str, str]:
    n, changing = len(groups), int(groups["changes"].sum())
    half = _value(scores, MEASURED_HALF, "delta_pearson")
    if not changing:
        return NOTHING, (
            f"There is nothing to predict from '{design['source']}' to '{target}': in none of {n} group"
            f"{'' if n == 1 else 's'} is the measured change larger than when conditions are given to cells at random "
            f"(smallest adjusted p = {groups['change_p_adjusted'].min():.2g}), and two halves of the cells agree on it "
            f"with r = {half}."
        )
    best = _best_model(scores)
    errors = scores[scores["score"] == "rmse_top"].set_index("method")["value"]
    how, gain = _against_no_change(best, scores, gains)
    value, low, high = (
        100 * gain[name] / errors[best + UNCHANGED] for name in ("better_by", "ci_lower", "ci_upper")
    )
    from_cells = 100 * (1 - errors[best] / errors[NO_CHANGE])
    return f"{how} no change", (
        f"{NAMES[best]} predicts '{target}' from '{design['source']}' {how} no change: the error of the genes that "
        f"change most is {_fewer(value)} (95 % interval {low:.0f} to {high:.0f} %) than with the same cells decoded "
        f"unchanged, {_fewer(from_cells)} than with the measured source, and the predicted change of all genes "
        f"correlates with the measured one with r = {_value(scores, best, 'delta_pearson')}, where "
        f"{NAMES[MEASURED_HALF]} reaches {half} (mean of {n} group{'' if n == 1 else 's'}, of which {changing} change)."
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


def _models(scores: pd.DataFrame) -> list[str]:
    methods = list(scores["method"].astype(str).unique())
    return [name for name in methods if name + UNCHANGED in methods]


def _best_model(scores: pd.DataFrame) -> str:
    """The model whose change correlates best with the measured one."""
    models = _models(scores)
    correlations = scores[scores["score"] == "delta_pearson"].set_index("method")["value"].reindex(models)
    return str(correlations.idxmax()) if correlations.notna().any() else models[0]


def _fewer(percent: float) -> str:
    return f"{percent:.0f} % smaller" if percent >= 0 else f"{-percent:.0f} % larger"


def _against_baselines(target: str, gains: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    """One sentence a baseline, on all models."""
    own = gains[gains["versus"] == gains["method"] + UNCHANGED]
    parts = [f"with {NAMES[method]}, {_compared(rows)}" for method, rows in own.groupby("method", sort=False)]
    sentences = [f"Against the same cells decoded unchanged: {'; '.join(parts)}."]
    for baseline in (MEAN_SHIFT, POOLED_SHIFT, TARGET_MEAN):
        rows = gains[gains["versus"] == baseline]
        parts = [
            f"with {NAMES[method]}, {_compared(of_model)}"
            for method, of_model in rows.groupby("method", sort=False)
        ]
        if parts:
            correlation = _value(scores, baseline, "delta_pearson")
            sentences.append(
                f"Against {NAMES[baseline]} (r = {correlation} of the change in '{target}'): {'; '.join(parts)}."
            )
    return sentences


def _compared(rows: pd.DataFrame) -> str:
    by_score = rows.set_index("score")
    said = []
    for score, label in (("delta_pearson", "r"), ("rmse_top", "the error of the genes that change most")):
        if score not in by_score.index:
            continue
        gain, low, high = by_score.loc[score, ["better_by", "ci_lower", "ci_upper"]].astype(float)
        if low > 0:
            said.append(f"{label} is better by {gain:.2f} ({low:.2f} to {high:.2f})")
        elif high < 0:
            said.append(f"{label} is worse by {-gain:.2f} ({-high:.2f} to {-low:.2f})")
        else:
            said.append(f"{label} is not told apart ({gain:+.2f} in its favour, {low:+.2f} to {high:+.2f})")
    return " and ".join(said)


def _about_intervals(design: Mapping[str, Any]) -> str:
    over = (
        "held-out samples and their cells"
        if design["held_out"] == "paired samples" and len(design["held_out_names"]) >= MIN_BLOCKS
        else "cells, not samples, so they do not speak for other samples,"
    )
    return (
        f"Intervals are over {over} with the fitted models as they are; the cell types and modelled genes were chosen "
        "with all cells known."
    )


def _nested(scores: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    return {
        str(method): {
            row.score: {"value": row.value, "low": row.ci_lower, "high": row.ci_upper}
            for row in rows.itertuples()
        }
        for method, rows in scores.groupby("method", sort=False)
    }


def _value(scores: pd.DataFrame, method: str, score: str) -> str:
    row = scores[(scores["method"] == method) & (scores["score"] == score)]
    if row.empty:
        return "undefined"
    value, low, high = row.iloc[0][["value", "ci_lower", "ci_upper"]]
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def describe_prediction(study: Any, keys: Keys, graph: Study) -> str:
    """How expression under other conditions was predicted and scored."""
    if "prediction" not in graph.analyses:
        return ""
    options = study.prediction
    text = [
        _held_out(keys, options),
        f"An scVI [@lopez2018] ({named('scvi-tools')} [@gayoso2022]) with `{keys.condition_key}` as its batch was "
        "fitted to the other cells, and source cells were decoded with the target condition in the place of their own "
        f"({options.n_samples} draws of each cell's latent state). The change is the log ratio of what is decoded for "
        "the two conditions.",
    ]
    if keys.sample_key:
        text.append(
            f"MrVI [@boyeau2022] was fitted to the same cells with each `{keys.sample_key}`'s cells of one condition "
            "as a sample, and source cells were decoded as each training sample of the target, averaged."
        )
    samples = " and, from 3 held-out samples on, over samples [@rubin1981]" if keys.sample_key else ""
    text.append(
        "Baselines are no change (of the measured cells, and of the same cells decoded in their own condition, which "
        "is what a model's smoothing alone achieves), the source shifted by the mean change of the training cells of "
        "the same type (of the other types where that has none) or of all types together, and the mean of the training "
        "cells in the target. Means are of each cell's share of the modelled genes, as log(1 + counts per 10,000), "
        "with samples that hold both conditions weighted by the inverse variance of their difference. Predictions "
        "start from one random half of the source cells; the measured change is taken from the other half, which was "
        "kept out of training too, as a model that has seen these cells correlates with the change by their noise. "
        "Predictions were compared with random halves of the held-out cells (means over 20 divisions), and the "
        f"{options.top_genes} genes of the largest change chosen on the other halves. Intervals are 95 % bootstrap "
        f"intervals ({options.n_bootstrap} replicates) over cells{samples}, with the fitted models as they are. A cell "
        "type's measured change was tested by 199 permutations of the conditions among its held-out and source cells "
        f"within samples [@phipson2010], at an FDR of {options.fdr:g} [@benjamini1995]; genes respond by moderated "
        "t-tests [@smyth2004] on cells at the same FDR, for which cells count as independent."
    )
    return " ".join(text)


def _held_out(keys: Keys, options: PredictionOptions) -> str:
    if keys.sample_key:
        return (
            f"To predict expression under other conditions, the target-condition cells of {options.held_out_share:.0%} "
            f"of the samples (`{keys.sample_key}`; where fewer than two have any, of the most abundant cell types) "
            "were kept out of training."
        )
    return (
        "To predict expression under other conditions, the target-condition cells of the most abundant types (at most "
        f"{options.max_groups}) were kept out of training entirely, so that responses are predicted out of "
        "distribution [@lotfollahi2019]."
    )
