"""Sentences of the verdict."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.parameters import BatchEffectOptions, Keys

from .judgement import (
    CLASSIFIERS,
    Verdict,
    better_classifier,
    is_present,
    relative_excess,
    why_not_testable,
)
from .separation import CONFINED_SHARE, FEWEST_CELLS
from .structure import wanted_permutations

# Shares of variance, and of cells, from which overlap of batch and biology is worth a sentence.
LARGE_SHARED_SHARE = 0.05
FEW_EXCHANGEABLE = 0.5
_REMOVES = "correcting for the batch also removes"
_WHERE = {"before": "PCA of log counts", "after": "the latent", "corrected": "corrected expression"}
_OUTCOMES = {
    "none": "no correction is needed",
    "removed": "the model removed what the tests can find",
    "weaker": "batch structure is weaker but still there",
    "kept": "batch structure is still there, about as strong as before",
    "stronger": "batch structure is stronger than before",
    "brought in": "there was nothing to correct, and the model brought batch structure in",
}
_MOST_NAMED = 5


def verdict_sentence(
    verdict: Verdict, stages: dict[str, dict[str, Any]], keys: Keys, options: BatchEffectOptions
) -> str:
    """How well the batch can be predicted at each stage, and what follows."""
    biology = biology_name(keys)
    if verdict == "one batch":
        return f"obs['{keys.batch_key}'] holds one batch, so there is no batch structure to measure."
    if verdict == "confounded":
        return (
            f"Every value of {biology} is found in one batch only, so batch and biology cannot be told apart: no "
            "test of batch structure is possible."
        )
    before, after = stages["before"], stages["after"]
    if verdict == "not testable":
        return _not_testable(stages, options.fdr)
    null = f", batches permuted within {biology}" if biology else ""
    if verdict in ("none", "brought in"):
        first = f"On {_WHERE['before']} no batch structure was found: the batch is predicted with"
    else:
        first = f"Before correction ({_WHERE['before']}) the batch can be predicted with"
    left = ""
    if verdict in ("weaker", "kept", "stronger"):
        left = f" ({100 * relative_excess(after) / relative_excess(before):.0f} % of the excess over the null is left)"
    text = f"{first} {_told(before, null)}; on the latent with {_told(after)}: {_OUTCOMES[verdict]}{left}."
    corrected = stages.get("corrected")
    if corrected is None:
        return text
    reason = why_not_testable(corrected, options.fdr)
    if reason:
        return f"{text} Corrected expression could not be tested: {reason}."
    found = "still tells" if is_present(corrected, options.fdr) else "does not tell"
    return f"{text} Corrected expression {found} the batch: {_told(corrected)}."


def _not_testable(stages: dict[str, dict[str, Any]], fdr: float) -> str:
    reasons = {stage: why_not_testable(stages[stage], fdr) for stage in ("before", "after")}
    where = " and on ".join(_WHERE[stage] for stage, reason in reasons.items() if reason)
    why = "; ".join(dict.fromkeys(reason for reason in reasons.values() if reason))
    return (
        f"Batch structure could not be tested on {where}: {why}. Whether a correction is needed, or worked, is "
        "not known."
    )


def _told(row: dict[str, Any], null: str = "") -> str:
    name = better_classifier(row)
    auc, mean, sd, p = (row[f"{name}_{part}"] for part in ("auc", "null_mean", "null_sd", "p"))
    return f"AUC {auc:.2f} by {CLASSIFIERS[name]} (null {mean:.2f} ± {sd:.2f}{null}; p = {p:.2g})"


def variance_sentence(
    batch_variance: pd.DataFrame, batch_genes: pd.DataFrame, keys: Keys, options: BatchEffectOptions
) -> str:
    """Shares of variance before and after, and the genes that carry the batch most."""
    shares = batch_variance.set_index(["representation", "source"])["share"]
    biology = biology_name(keys)
    parts = []
    for representation, where in (("pca", "the principal components"), ("latent", "the latent")):
        alone = [f"batch alone {_percent(shares[representation, 'batch'])}"]
        if biology:
            alone.append(f"{biology} alone {_percent(shares[representation, 'biology'])}")
            alone.append(f"both together {_percent(shares[representation, 'shared'])}")
        parts.append(f"of the variance of {where} {', '.join(alone)}")
    text = f"Adjusted shares: {'; '.join(parts)}."
    if batch_genes["batch_p_adjusted"].notna().sum() == 0:
        return text
    called = batch_genes[batch_genes["batch_p_adjusted"] <= options.fdr]
    given = f" given {biology}" if biology else ""
    first = f" {len(called):,} of {len(batch_genes):,} genes differ between batches{given}"
    first += f" (FDR {100 * options.fdr:g} %)"
    names = called["gene"].head(_MOST_NAMED).tolist()
    return text + (f"{first}, most of all {_listed(names)}." if names else f"{first}.")


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
        where = " or in ".join(
            _WHERE[stage] for stage in batch_by_label["stage"].unique() if stage != "before"
        )
        return (
            f"No sign of over-correction: none of {judged} values of {keys.label_key} loses its neighbourhood "
            f"in {where}.{unjudged}"
        )
    texts = []
    for stage, table in lost.groupby("stage", sort=False):
        named = [_vanishing(row) for row in table.sort_values("change").head(_MOST_NAMED).to_dict("records")]
        more = f" and {len(table) - _MOST_NAMED} more" if len(table) > _MOST_NAMED else ""
        texts.append(f"{'; '.join(named)}{more} in {_WHERE[str(stage)]}")
    return (
        f"Possible over-correction: cells lose neighbours of their own {keys.label_key}: {'; '.join(texts)}."
        f"{unjudged}"
    )


def _vanishing(row: dict[str, Any]) -> str:
    before = row["recall"] - row["change"]
    text = f"'{row['label']}' (recall {before:.2f} → {row['recall']:.2f}, {row['n_cells']} cells"
    if row["main_batch_share"] >= CONFINED_SHARE:
        text += f", {_percent(row['main_batch_share'])} of them in batch '{row['main_batch']}'"
    return f"{text}) merges into '{row['merges_into']}'"


def confounding_sentences(
    preparation_summary: dict[str, Any], before: dict[str, Any], batch_variance: pd.DataFrame, keys: Keys
) -> list[str]:
    """Where batch and biology go together, so that correction and biology cannot be told apart."""
    warnings = [text for text in preparation_summary.get("warnings") or [] if _REMOVES in text]
    said = [f"{text[0].upper()}{text[1:]}." for text in warnings]
    said += [
        f"batch_key and {name} are both '{keys.batch_key}': correcting for the batch removes what is looked for, "
        "and the two cannot be told apart."
        for name in ("label_key", "condition_key")
        if getattr(keys, name) == keys.batch_key
    ]
    biology = biology_name(keys)
    if not biology:
        return said
    shares = batch_variance.set_index(["representation", "source"])["share"]
    shared = shares["pca", "shared"]
    if shared >= LARGE_SHARED_SHARE:
        said.append(
            f"Batch and {biology} overlap: {_percent(shared)} of the variance of the principal components goes with "
            "either, and no method can say which part is technique."
        )
    if 0 < before["exchangeable_share"] < FEW_EXCHANGEABLE:
        said.append(
            f"Only {_percent(before['exchangeable_share'])} of the cells have a {biology} that is found in several "
            "batches; the tests rest on these."
        )
    return said


def caveat_sentences(
    stages: dict[str, dict[str, Any]], batch_genes: pd.DataFrame, keys: Keys, options: BatchEffectOptions
) -> list[str]:
    """What was left out, and what the tests count as replicates."""
    if stages["before"]["n_batches"] < 2:
        return []
    said = []
    if keys.label_key in (None, keys.batch_key):
        said.append(
            "Without labels a difference in composition counts as batch structure, and kBET within labels, batch "
            "ASW, BRAS and the search for over-correction are left out."
        )
    if "corrected" not in stages:
        reason = "the primary model does not decode it" if options.corrected else "it is switched off"
        said.append(f"Corrected expression was not measured: {reason}.")
    permutations = [row["linear_permutations"] for row in stages.values() if row["linear_permutations"] > 0]
    wanted = wanted_permutations(options)
    if permutations and min(permutations) < wanted:
        said.append(
            f"The linear classifier's null has {min(permutations):.0f} permutations in place of "
            f"{wanted}, which would take minutes."
        )
    if (batch_genes["batch_unit"] == "sample").any():
        unit = "The classifiers count cells as replicates, the tests of genes samples"
    else:
        unit = "The tests count cells as replicates"
    said.append(f"{unit}: on cells a p-value speaks of these batches, not of others like them.")
    return said


def known_keys(keys: Keys, before: dict[str, Any]) -> Keys:
    """The keys without label and condition that the measurements left out, no value of them being known."""
    dropped = before.get("dropped")
    names = dropped.split("\t") if isinstance(dropped, str) else []
    absent = [key for key in ("label_key", "condition_key") if getattr(keys, key) in names]
    return keys.model_copy(update=dict.fromkeys(absent))


def biology_name(keys: Keys) -> str:
    """``cell_type``, or ``cell_type and condition``; empty when neither is known."""
    named = [name for name in (keys.label_key, keys.condition_key) if name and name != keys.batch_key]
    return " and ".join(named)


def _percent(share: float) -> str:
    return f"{100 * max(share, 0.0):.{0 if share >= 0.1 else 1}f} %"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
