"""Batch effects in the report."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.structure import (
    CLASSIFIERS,
    CONFINED_SHARE,
    FEWEST_CELLS,
    Verdict,
    better_classifier,
    is_present,
    judge,
    relative_excess,
    wanted_permutations,
    why_not_testable,
)
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.words import count, listed

SECTION = Section(
    "Batch effects",
    "Is there batch structure before and after the model, how much of the variance is technique, and did the "
    "correction go too far? The null of the classifiers permutes batches among cells of the same biology, so a "
    "difference in composition alone does not count.",
    (
        Item(
            dataset="batch_effects_figure",
            caption="How well the batch can be predicted, and how well batches mix, before the model, on the "
            "latent of the primary model and in corrected expression.",
        ),
        Item(
            dataset="batch_effects",
            caption="Batch structure by representation; kBET and iLISI of batches mixed at random stand beside "
            "the observed ones.",
            file=OUTPUT + "batch_effects.csv",
            columns=names(
                "stage n_cells linear_auc linear_null_mean linear_p neighbor_auc neighbor_null_mean neighbor_p "
                "kbet kbet_mixed kbet_within_labels ilisi ilisi_mixed batch_asw bras pcr"
            ),
        ),
        Item(
            dataset="batch_variance_figure",
            caption="Shares of the variance by batch, by biology and by what cannot be told apart.",
        ),
        Item(
            dataset="batch_variance",
            caption="The same in numbers, adjusted for degrees of freedom, with 95 % intervals.",
            file=OUTPUT + "batch_variance.csv",
            groups=("representation",),
            folded=True,
        ),
        Item(
            dataset="batch_genes_figure",
            caption="Genes that carry the batch most, before and after correction.",
        ),
        Item(
            dataset="batch_genes",
            caption="Genes by the share of their variance that is batch alone.",
            file=OUTPUT + "batch_genes.csv",
            folded=True,
        ),
        Item(
            dataset="batch_by_label",
            caption="Recall of each label by its neighbours: a label that vanishes after correction is a sign of "
            "over-correction.",
            file=OUTPUT + "batch_by_label.csv",
            groups=("stage",),
            columns=names(
                "label stage n_cells recall low high change change_low change_high vanishes merges_into "
                "merged_share main_batch main_batch_share"
            ),
            folded=True,
        ),
        Item(
            dataset="batch_summary",
            caption="The verdict and its numbers.",
            file=OUTPUT + "batch_summary.json",
            folded=True,
        ),
    ),
)


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


_METRICS = ("kbet", "kbet_mixed", "kbet_within_labels", "ilisi", "ilisi_mixed", "batch_asw", "bras", "pcr")


def summarize(
    batch_effects: pd.DataFrame,
    batch_variance: pd.DataFrame,
    batch_genes: pd.DataFrame,
    batch_by_label: pd.DataFrame,
    preparation_summary: dict[str, Any],
    keys: Keys,
    options: BatchEffectOptions,
) -> dict[str, Any]:
    """Numbers of all tables, ``verdict`` in a word, and ``sentences``.

    Parameters
    ----------
    batch_effects, batch_variance, batch_genes, batch_by_label
        The pipeline's tables.
    preparation_summary
        For its warnings of confounding.
    keys
        The study's obs columns.
    options
        ``fdr`` is the level of all tests.
    """
    stages = {row["stage"]: row for row in batch_effects.to_dict("records")}
    keys = known_keys(keys, stages["before"])
    verdict = judge(stages, options.fdr)
    called = batch_genes["batch_p_adjusted"] <= options.fdr
    vanished = batch_by_label[batch_by_label["vanishes"].astype(bool)]
    sentences = [
        verdict_sentence(verdict, stages, keys, options),
        variance_sentence(batch_variance, batch_genes, keys, options),
        separation_sentence(batch_by_label, keys),
        " ".join(
            [
                *confounding_sentences(preparation_summary, stages["before"], batch_variance, keys),
                *caveat_sentences(stages, batch_genes, keys, options),
            ]
        ),
    ]
    numbers = {stage: _finite({name: row[name] for name in _named(row)}) for stage, row in stages.items()}
    shares = batch_variance.pivot(index="representation", columns="source", values="share")
    return {
        "verdict": verdict,
        "n_cells": int(stages["before"]["n_cells"]),
        "n_batches": int(stages["before"]["n_batches"]),
        **numbers,
        "variance": {name: _finite(row) for name, row in shares.to_dict("index").items()},
        "n_genes_with_batch": int(called.sum()),
        "n_labels_vanished": int(vanished.loc[vanished["stage"] == "after", "label"].nunique()),
        "sentences": [sentence for sentence in sentences if sentence],
    }


def _named(row: dict[str, Any]) -> list[str]:
    tests = [
        f"{classifier}_{part}"
        for classifier in CLASSIFIERS
        for part in ("auc", "null_mean", "null_sd", "p", "permutations")
    ]
    return [*_METRICS, *tests]


def _finite(values: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if pd.notna(value)}


def describe_batch_effects(study: Any, keys: Keys, graph: Study) -> str:
    """Mixing metrics, classifiers and their null, shares of variance, over-correction."""
    if "batch_effects" not in graph.analyses:
        return ""
    options = study.batch_effects
    known = [name for name in (keys.label_key, keys.condition_key) if name and name != keys.batch_key]
    biology = listed([f"`{name}`" for name in known]) if known else ""
    corrected = options.corrected and "normalized_expression" in graph.models[graph.primary].can
    text = [
        f"Batch structure by `{keys.batch_key}` was measured on the principal components of log counts and on "
        f"the latent variables of `{graph.primary}`, on at most about {options.max_cells:,} cells sampled in "
        "proportion.",
    ]
    if corrected:
        text.append(
            "Corrected expression is what the model decodes of each cell "
            f"({count(options.n_samples, 'posterior sample')}), averaged over all batches, as log counts per "
            "10,000; its principal components were measured alike."
        )
    text.append(_metrics(options.n_neighbors, keys))
    text.append(
        f"The batch was predicted by multinomial logistic regression ({options.n_folds}-fold cross-validation, "
        f"stratified) and by the {options.n_neighbors} nearest other cells, and scored by the macro one-vs-rest "
        f"AUC [@fawcett2006]; p-values come from permutations [@phipson2010] of "
        f"the batches{f' among cells of the same {biology}' if biology else ''}."
    )
    terms = f"batch and {biology}" if biology else "batch"
    text.append(
        f"Variance was partitioned by linear models on {terms} with R² adjusted for degrees of freedom "
        "[@peresneto2006], with jackknife intervals over groups of cells; each gene was tested for the batch"
        f"{f' given {biology}' if biology else ''} by an F test with Benjamini-Hochberg correction "
        f"[@benjamini1995] at {100 * options.fdr:g} %."
    )
    if keys.label_key in known:
        text.append(
            f"Over-correction was judged by the recall of each `{keys.label_key}` by its nearest neighbours, with "
            "bootstrap intervals: a label vanishes whose recall falls by more than 0.1."
        )
    return " ".join(text)


def _metrics(n_neighbors: int, keys: Keys) -> str:
    metrics = [
        f"kBET [@buttner2019] on {n_neighbors} neighbours",
        "iLISI [@korsunsky2019]",
        "principal component regression",
    ]
    if keys.label_key and keys.label_key != keys.batch_key:
        metrics += ["batch ASW", "BRAS [@rautenstrauch2025]", "kBET inside labels"]
    return f"Mixing was scored as in scib-metrics [@luecken2022] by {listed(metrics)}."
