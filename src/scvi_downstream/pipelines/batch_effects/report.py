"""Batch effects in the report: what is shown, and the verdict in numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.design import biology_keys
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.structure import CLASSIFIERS, FEWEST_CELLS, wanted_permutations
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.preparation.covariates import confounding_warnings
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, listed, sentence

SECTION = Section(
    "Batch effects",
    "Is there batch structure before and after the model, how much of the variance is technique, and did the "
    "correction go too far? The null of the classifiers permutes batches among cells of the same biology, so a "
    "difference in composition alone does not count. It is not calibrated for batches that are sets of donors: what "
    "differs between any donors is found, too, and counts as batch.",
    (
        Item(
            "batch_effects_figure",
            "How well the batch can be predicted, and how well batches mix, before the model, on the "
            "latent of the primary model and in corrected expression.",
        ),
        result(
            "batch_effects.csv",
            "Batch structure by representation; kBET and iLISI of batches mixed at random stand beside "
            "the observed ones.",
            columns=names(
                "stage n_cells linear_auc linear_null_mean linear_p neighbor_auc neighbor_null_mean neighbor_p "
                "kbet kbet_mixed kbet_within_labels ilisi ilisi_mixed batch_asw bras pcr"
            ),
        ),
        Item(
            "batch_variance_figure",
            "Shares of the variance by batch, by biology and by what cannot be told apart.",
        ),
        result(
            "batch_variance.csv",
            "The same in numbers, adjusted for degrees of freedom, with 95 % intervals.",
            groups=("representation",),
            folded=True,
        ),
        Item("batch_genes_figure", "Genes that carry the batch most, before and after correction."),
        result(
            "batch_genes.csv",
            "Genes by the share of their variance that is batch alone. Their p-values are not calibrated where samples "
            "differ in depth (14 % are below 0.05 without an effect) and, without sample_key, where batches are sets "
            "of donors (34 %).",
            folded=True,
        ),
        result(
            "batch_by_label.csv",
            "Recall of each label by its neighbours: a label that vanishes after correction is a sign of "
            "over-correction.",
            groups=("stage",),
            columns=names(
                "label stage n_cells recall low high change change_low change_high vanishes merges_into "
                "merged_share main_batch main_batch_share"
            ),
            folded=True,
        ),
        result("batch_summary.json", "The verdict and its numbers.", folded=True),
    ),
)

Verdict = Literal[
    "none", "removed", "weaker", "kept", "stronger", "brought in", "confounded", "one batch", "not testable"
]
OUTCOMES = {
    "none": "no correction is needed",
    "removed": "the model removed what the tests can find",
    "weaker": "batch structure is weaker but still there",
    "kept": "batch structure is still there, about as strong as before",
    "stronger": "batch structure is stronger than before",
    "brought in": "there was nothing to correct, and the model brought batch structure in",
}
_HEADLINES = {
    "none": ("No batch structure, before or after the model", Trust.HOLDS),
    "removed": ("Batches are gone after correction", Trust.HOLDS),
    "weaker": ("Batches are weaker after correction, and still there", Trust.UNCERTAIN),
    "kept": ("Batches are still there after correction", Trust.FAILS),
    "stronger": ("Batches are stronger after correction", Trust.FAILS),
    "brought in": ("The model brought batch structure in", Trust.FAILS),
    "confounded": ("Batch and biology cannot be told apart", Trust.UNCERTAIN),
    "one batch": ("One batch: there is nothing to correct", Trust.HOLDS),
    "not testable": ("Batch structure could not be tested", Trust.UNCERTAIN),
}
CLASSIFIER_NAMES = {"linear": "a linear classifier", "neighbor": "nearest neighbours"}
STAGE_NAMES = {"before": "PCA of log counts", "after": "the latent", "corrected": "corrected expression"}
METRICS = ("kbet", "kbet_mixed", "kbet_within_labels", "ilisi", "ilisi_mixed", "batch_asw", "bras", "pcr")
TEST_PARTS = ("auc", "null_mean", "null_sd", "p", "permutations")
NUMBERS = (*METRICS, *(f"{classifier}_{part}" for classifier in CLASSIFIERS for part in TEST_PARTS))
"""Columns of ``batch_effects`` that the summary repeats."""
# An AUC that is this little above its null is detectable in many cells, but matters for nothing.
NEGLIGIBLE_EXCESS = 0.02
# Structure is weaker, or stronger, when its excess changes by more than this share.
CHANGED_SHARE = 0.1
# Shares of variance, and of cells, from which overlap of batch and biology is worth a sentence.
LARGE_SHARED_SHARE, FEW_EXCHANGEABLE = 0.05, 0.5
# A label with this share of its cells in one batch is confined to it.
CONFINED_SHARE = 0.95
MOST_NAMED = 5


def summarize_batch_effects(
    batch_effects: pd.DataFrame,
    batch_variance: pd.DataFrame,
    batch_genes: pd.DataFrame,
    batch_by_label: pd.DataFrame,
    counts: AnnData,
    keys: Keys,
    options: BatchEffectOptions,
) -> dict[str, Any]:
    """Numbers of all tables, ``verdict`` in a word, and ``sentences``.

    Parameters
    ----------
    batch_effects, batch_variance, batch_genes, batch_by_label
        The pipeline's tables.
    counts, keys
        For what of their annotations goes with the batch; the study's obs columns.
    options
        ``fdr`` is the level of all tests.
    """
    stages = {row["stage"]: row for row in batch_effects.to_dict("records")}
    before = stages["before"]
    keys = _known_keys(keys, before)
    verdict = judge(stages, options.fdr)
    shares = batch_variance.pivot(index="representation", columns="source", values="share")
    caveats = [
        *confounding_sentences(confounding_warnings(counts.obs, keys), before, shares, keys),
        *_caveat_sentences(stages, batch_genes, keys, options),
    ]
    sentences = [
        verdict_sentence(verdict, stages, keys, options),
        _variance_sentence(shares, batch_genes, keys, options),
        separation_sentence(batch_by_label, keys),
        " ".join(caveats),
    ]
    vanished = batch_by_label[batch_by_label["vanishes"].astype(bool) & (batch_by_label["stage"] == "after")]
    return {
        "verdict": verdict,
        "n_cells": int(before["n_cells"]),
        "n_batches": int(before["n_batches"]),
        **{stage: _finite({name: row[name] for name in NUMBERS}) for stage, row in stages.items()},
        "variance": {name: _finite(row) for name, row in shares.to_dict("index").items()},
        "n_genes_with_batch": int((batch_genes["batch_p_adjusted"] <= options.fdr).sum()),
        "n_labels_vanished": int(vanished["label"].nunique()),
        "sentences": [text for text in sentences if text],
    }


def _finite(values: dict[Any, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if pd.notna(value)}


def _known_keys(keys: Keys, before: dict[str, Any]) -> Keys:
    """The keys without label and condition that the measurements left out, no value of them being known."""
    dropped = before.get("dropped")
    names = dropped.split("\t") if isinstance(dropped, str) else []
    absent = [key for key in ("label_key", "condition_key") if getattr(keys, key) in names]
    return keys.model_copy(update=dict.fromkeys(absent))


def judge(stages: dict[str, dict[str, Any]], fdr: float) -> Verdict:
    """What became of the batch structure between the uncorrected embedding and the latent.

    ``stages`` are rows of ``batch_effects``; ``fdr`` is the level of the test by both classifiers together.
    """
    before, after = stages["before"], stages["after"]
    if before["n_batches"] < 2:
        return "one batch"
    if before["exchangeable_share"] == 0:
        return "confounded"
    if _why_not_testable(before, fdr) or _why_not_testable(after, fdr):
        return "not testable"
    return _compare_stages(before, after, fdr)


def _compare_stages(before: dict[str, Any], after: dict[str, Any], fdr: float) -> Verdict:
    if not _is_present(before, fdr):
        return "brought in" if _is_present(after, fdr) else "none"
    if not _is_present(after, fdr):
        return "removed"
    change = _relative_excess(after) / _relative_excess(before)
    if change < 1 - CHANGED_SHARE:
        return "weaker"
    return "stronger" if change > 1 + CHANGED_SHARE else "kept"


def _is_present(row: dict[str, Any], fdr: float) -> bool:
    """Whether either classifier tells batches better than chance, by more than is negligible."""
    return any(
        row[f"{name}_p"] <= fdr / len(CLASSIFIERS)
        and row[f"{name}_auc"] - row[f"{name}_null_mean"] >= NEGLIGIBLE_EXCESS
        for name in CLASSIFIERS
    )


def _why_not_testable(row: dict[str, Any], fdr: float) -> str | None:
    """Reason why an absence of batch structure cannot be told from a missing result, if there is one."""
    if row["exchangeable_share"] == 0:
        return "every biology is found in one batch only"
    if _is_present(row, fdr) or all(np.isfinite(row[f"{name}_p"]) for name in CLASSIFIERS):
        return None
    if np.isnan(row["exchangeable_share"]):
        return "fewer than two batches have a cell for every fold of the classifiers"
    return "a classifier has no finite result"


def _better_classifier(row: dict[str, Any]) -> str:
    """The classifier that lies farther above its null."""
    return max(CLASSIFIERS, key=lambda name: _excess(row, name))


def _relative_excess(row: dict[str, Any]) -> float:
    """AUC above the null, as a share of what is possible, of the better classifier."""
    name = _better_classifier(row)
    return _excess(row, name) / max(1 - row[f"{name}_null_mean"], 1e-9)


def _excess(row: dict[str, Any], name: str) -> float:
    auc, null = (row.get(f"{name}_{part}", np.nan) for part in ("auc", "null_mean"))
    return float(np.nan_to_num(auc - null, nan=-1.0))


def verdict_sentence(
    verdict: Verdict, stages: dict[str, dict[str, Any]], keys: Keys, options: BatchEffectOptions
) -> str:
    """How well the batch can be predicted at each stage, and what follows."""
    biology = _biology_name(keys)
    if verdict == "one batch":
        return f"obs['{keys.batch_key}'] holds one batch, so there is no batch structure to measure."
    if verdict == "confounded":
        return (
            f"Every value of {biology} is found in one batch only, so batch and biology cannot be told apart: no "
            "test of batch structure is possible."
        )
    before, after = stages["before"], stages["after"]
    if verdict == "not testable":
        reasons = {stage: _why_not_testable(stages[stage], options.fdr) for stage in ("before", "after")}
        where = " and on ".join(STAGE_NAMES[stage] for stage, reason in reasons.items() if reason)
        why = "; ".join(dict.fromkeys(filter(None, reasons.values())))
        return (
            f"Batch structure could not be tested on {where}: {why}. Whether a correction is needed, or worked, is "
            "not known."
        )
    null = f", batches permuted within {biology}" if biology else ""
    if verdict in ("none", "brought in"):
        first = f"On {STAGE_NAMES['before']} no batch structure was found: the batch is predicted with"
    else:
        first = f"Before correction ({STAGE_NAMES['before']}) the batch can be predicted with"
    left = ""
    if verdict in ("weaker", "kept", "stronger"):
        share = 100 * _relative_excess(after) / _relative_excess(before)
        left = f" ({share:.0f} % of the excess over the null is left)"
    text = f"{first} {_auc_text(before, null)}; on the latent with {_auc_text(after)}: {OUTCOMES[verdict]}{left}."
    corrected = stages.get("corrected")
    if corrected is None:
        return text
    reason = _why_not_testable(corrected, options.fdr)
    if reason:
        return f"{text} Corrected expression could not be tested: {reason}."
    found = "still tells" if _is_present(corrected, options.fdr) else "does not tell"
    return f"{text} Corrected expression {found} the batch: {_auc_text(corrected)}."


def _auc_text(row: dict[str, Any], null: str = "") -> str:
    name = _better_classifier(row)
    auc, mean, sd, p = (row[f"{name}_{part}"] for part in ("auc", "null_mean", "null_sd", "p"))
    return f"AUC {auc:.2f} by {CLASSIFIER_NAMES[name]} (null {mean:.2f} ± {sd:.2f}{null}; p = {p:.2g})"


def _variance_sentence(
    shares: pd.DataFrame, batch_genes: pd.DataFrame, keys: Keys, options: BatchEffectOptions
) -> str:
    """Shares of variance before and after, and the genes that carry the batch most.

    ``shares`` is representation × source; ``batch_genes`` one row a gene, the one that carries the batch most first.
    """
    biology = _biology_name(keys)
    parts = []
    for representation, where in (("pca", "the principal components"), ("latent", "the latent")):
        share = shares.loc[representation].map(_percent)
        alone = f"batch alone {share['batch']}"
        if biology:
            alone += f", {biology} alone {share['biology']}, both together {share['shared']}"
        parts.append(f"of the variance of {where} {alone}")
    text = f"Adjusted shares: {'; '.join(parts)}."
    if batch_genes["batch_p_adjusted"].isna().all():
        return text
    called = batch_genes.loc[batch_genes["batch_p_adjusted"] <= options.fdr, "gene"]
    given = f" given {biology}" if biology else ""
    most = f", most of all {listed(called.head(MOST_NAMED).tolist())}" if len(called) else ""
    return (
        f"{text} {len(called):,} of {len(batch_genes):,} genes differ between batches{given} "
        f"(FDR {100 * options.fdr:g} %){most}."
    )


def separation_sentence(batch_by_label: pd.DataFrame, keys: Keys) -> str:
    """Labels that vanish, or that none does."""
    if batch_by_label.empty:
        return ""
    lost = batch_by_label[batch_by_label["vanishes"].astype(bool)]
    sizes = batch_by_label.groupby("label")["n_cells"].max()
    judged = int((sizes >= FEWEST_CELLS).sum())
    small = len(sizes) - judged
    if judged == 0:
        return (
            f"Over-correction could not be judged: every value of {keys.label_key} has fewer than {FEWEST_CELLS} "
            "cells."
        )
    unjudged = f" {small} with fewer than {FEWEST_CELLS} cells could not be judged." if small else ""
    if lost.empty:
        where = [STAGE_NAMES[stage] for stage in batch_by_label["stage"].unique() if stage != "before"]
        return (
            f"No sign of over-correction: none of {judged} values of {keys.label_key} loses its neighbourhood "
            f"in {' or in '.join(where)}.{unjudged}"
        )
    texts = []
    for stage, table in lost.groupby("stage", sort=False):
        worst = table.sort_values("change").head(MOST_NAMED).to_dict("records")
        more = f" and {len(table) - MOST_NAMED} more" if len(table) > MOST_NAMED else ""
        texts.append(f"{'; '.join(map(_vanishing_text, worst))}{more} in {STAGE_NAMES[str(stage)]}")
    return (
        f"Possible over-correction: cells lose neighbours of their own {keys.label_key}: {'; '.join(texts)}."
        f"{unjudged}"
    )


def _vanishing_text(row: dict[str, Any]) -> str:
    before = row["recall"] - row["change"]
    text = f"'{row['label']}' (recall {before:.2f} → {row['recall']:.2f}, {row['n_cells']} cells"
    if row["main_batch_share"] >= CONFINED_SHARE:
        text += f", {_percent(row['main_batch_share'])} of them in batch '{row['main_batch']}'"
    return f"{text}) merges into '{row['merges_into']}'"


def confounding_sentences(
    warnings: list[str], before: dict[str, Any], shares: pd.DataFrame, keys: Keys
) -> list[str]:
    """Where batch and biology go together, so that correction and biology cannot be told apart."""
    sentences = [sentence(text) for text in warnings]
    sentences += [
        f"batch_key and {name} are both '{keys.batch_key}': correcting for the batch removes what is looked for, "
        "and the two cannot be told apart."
        for name in ("label_key", "condition_key")
        if getattr(keys, name) == keys.batch_key
    ]
    biology = _biology_name(keys)
    if not biology:
        return sentences
    shared = shares.loc["pca", "shared"]
    if shared >= LARGE_SHARED_SHARE:
        sentences.append(
            f"Batch and {biology} overlap: {_percent(shared)} of the variance of the principal components goes with "
            "either, and no method can say which part is technique."
        )
    if 0 < before["exchangeable_share"] < FEW_EXCHANGEABLE:
        sentences.append(
            f"Only {_percent(before['exchangeable_share'])} of the cells have a {biology} that is found in several "
            "batches; the tests rest on these."
        )
    return sentences


def _caveat_sentences(
    stages: dict[str, dict[str, Any]], batch_genes: pd.DataFrame, keys: Keys, options: BatchEffectOptions
) -> list[str]:
    """What was left out, and what the tests count as replicates."""
    if stages["before"]["n_batches"] < 2:
        return []
    sentences = []
    if keys.label_key in (None, keys.batch_key):
        sentences.append(
            "Without labels a difference in composition counts as batch structure, and kBET within labels, batch "
            "ASW, BRAS and the search for over-correction are left out."
        )
    if "corrected" not in stages:
        reason = "the primary model does not decode it" if options.corrected else "it is switched off"
        sentences.append(f"Corrected expression was not measured: {reason}.")
    permutations = [row["linear_permutations"] for row in stages.values() if row["linear_permutations"] > 0]
    wanted = wanted_permutations(options)
    if permutations and min(permutations) < wanted:
        sentences.append(
            f"The linear classifier's null has {min(permutations):.0f} permutations in place of "
            f"{wanted}, which would take minutes."
        )
    if (batch_genes["batch_unit"] == "sample").any():
        unit = "The classifiers count cells as replicates, the tests of genes samples"
    else:
        unit = "The tests count cells as replicates"
    sentences.append(f"{unit}: on cells a p-value speaks of these batches, not of others like them.")
    return sentences


def _biology_name(keys: Keys) -> str:
    """``cell_type``, or ``cell_type and condition``; empty when neither is known."""
    return " and ".join(biology_keys(keys))


def _percent(share: float) -> str:
    return f"{100 * max(share, 0.0):.{0 if share >= 0.1 else 1}f} %"


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """Whether batches are gone, how well they can still be told, and whether labels went with them."""
    summary = contents.get("batch_summary")
    if not summary:
        return None
    text, trust = _HEADLINES[summary["verdict"]]
    if summary["verdict"] in OUTCOMES:
        name = _better_classifier(after := summary["after"])
        text += f" (AUC {after[f'{name}_auc']:.2f}, by chance {after[f'{name}_null_mean']:.2f})"
    if lost := summary["n_labels_vanished"]:
        return Headline(f"{text}; {count(lost, 'label')} lost with them", Trust.FAILS)
    return Headline(text, trust)
