"""Samples compared by MrVI in the report: its section, and the verdicts in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import sample_column
from scvi_downstream.cells.samples import Samples, find_samples
from scvi_downstream.models.mrvi import nuisance_batch, sample_warnings
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.samples.design import ALL_CELLS, FEWEST_SAMPLES, SampleDesign, sample_design
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, sentence, up_to

SECTION = Section(
    "Samples",
    "What samples and conditions change, as MrVI sees it. Every cell has a state u apart from its sample and a state z "
    "in its sample; the distance of two samples is that of the states z which the same cell would have in them. "
    "Tests permute conditions over samples, within pairs where samples pair up: they are about samples, not cells.",
    (
        Item(
            "sample_distances_figure",
            "Mean distance of samples over the cells of each group, samples in the order of their tree; lines "
            "part its clusters, the strip above shows the condition.",
        ),
        Item(
            "sample_map_figure",
            "Samples of each group as points (multidimensional scaling of the distances); lines join the "
            "samples of a pair. p: permutations of conditions over samples.",
        ),
        result(
            "sample_effects.csv",
            "What each condition does in each group: distances within and between conditions, silhouette, how "
            "far it moves a cell (units of z), in how many cells, and whether permuted conditions do as much.",
            columns=names(
                "group condition reference n_cells n_samples n_pairs within between above_noise silhouette "
                "silhouette_p silhouette_p_adjusted effect effect_p_adjusted share_of_cells smallest_p reason"
            ),
        ),
        Item(
            "sample_expression_figure",
            "Genes that conditions change most: log2 fold change of the decoded expression (colour), share of "
            "cells (size), and whether counts summed by sample say the same (ring).",
        ),
        result(
            "sample_expression.parquet",
            "Genes that conditions change, by group. Fold changes are those of the model, p-values those of "
            "counts summed by sample.",
            groups=("group", "condition"),
            columns=names(
                "group condition reference symbol mean_condition mean_reference lfc lfc_sd share_of_cells "
                "pseudobulk_lfc pseudobulk_p pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
        Item(
            "sample_abundance_figure",
            "Where cells of a condition are denser in u, and the mean probability of the condition by group.",
        ),
        result(
            "sample_abundance.csv",
            "Abundance by group; own_condition is how well u tells the condition of a cell (0.5: not at all), "
            "which leaves nothing to z where it is near 1.",
            folded=True,
        ),
        result(
            "sample_counterfactuals.csv",
            "Mean expression of the cells of each group as if all were of one sample, beside what was measured "
            "in the sample's own cells (counts per 10,000 of the modelled genes).",
            groups=("group",),
            folded=True,
        ),
        result("sample_clusters.csv", "Clusters of samples in each group.", groups=("group",), folded=True),
        result(
            "sample_distances.csv",
            "Distances of all pairs of samples; the normalised ones are in standard deviations of the noise.",
            groups=("group",),
            folded=True,
        ),
        result("sample_summary.json", "The verdicts in words and numbers.", folded=True),
    ),
)


N_NAMED = 5
TELLING = 0.6
"""Probability of a cell's own condition given u from which it is put into words."""
FEWEST_GENES = 3
"""Of fewer tested genes a correlation of fold changes says nothing."""


def summarize_samples(
    sample_distances: pd.DataFrame,
    sample_effects: pd.DataFrame,
    sample_expression: pd.DataFrame,
    sample_abundance: pd.DataFrame,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
) -> dict[str, Any]:
    """Verdicts and their numbers.

    Parameters
    ----------
    sample_distances, sample_effects
        Of :func:`.comparison.compare_samples`.
    sample_expression
        Of :func:`.expression.compare_sample_expression`.
    sample_abundance
        By group, of :func:`.abundance.compare_sample_abundance`.
    counts, clusters
        The cells, and their clusters.
    keys, options
        The study's obs columns; FDR, number of genes.

    Returns
    -------
    ``sample_column``, ``grouping``, ``samples``, ``conditions``, ``reference``, ``n_pairs``, ``batch`` that was
    corrected and ``batch_reason``; ``effects`` and ``abundance`` by group; ``top_genes`` by group; ``sentences``.
    """
    design = sample_design(counts, clusters, keys, options)
    column = sample_column(counts.obs, keys)
    batch, reason = nuisance_batch(counts.obs, keys)
    verdicts = [] if design.compared else [_without_conditions(sample_distances, design, keys, options)]
    tables = (sample_effects, sample_expression, sample_abundance)
    for condition in design.compared:
        effects, expression, abundance = (table[table["condition"] == condition] for table in tables)
        verdicts += _about_separation(effects, f"{condition} against {design.reference}", design, options)
        verdicts += _about_genes(expression, condition, options)
        verdicts += _about_abundance(abundance, condition, design, options)
    about = _about_samples(design, column, keys, find_samples(counts.obs, keys))
    warnings = [*([reason] if reason else []), *sample_warnings(counts.obs, column)]
    return {
        "sample_column": column,
        "grouping": design.grouping,
        "samples": list(design.samples),
        "conditions": list(dict.fromkeys(design.conditions)),
        "reference": design.reference,
        "n_pairs": design.n_pairs,
        "batch": batch,
        "batch_reason": reason,
        "effects": _records(sample_effects),
        "abundance": _records(sample_abundance),
        "top_genes": {
            str(group): table.sort_values("rank")["symbol"].head(options.top_genes).astype(str).tolist()
            for group, table in sample_expression.groupby("group", sort=False, observed=True)
        },
        # The verdict first: a run shows the first sentence when it ends.
        "sentences": [*verdicts[:1], about, *map(sentence, warnings), *verdicts[1:]],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with plain numbers; ``None`` where there is none."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _about_samples(design: SampleDesign, column: str, keys: Replicates, samples: Samples | None) -> str:
    what = f"'{column}'" if column == keys.sample_key else f"'{keys.sample_key}' × '{keys.condition_key}'"
    blocks = samples.blocks_in_words if samples else ""
    paired = f" in {count(design.n_pairs, 'block')} of {blocks}" if design.n_pairs else ""
    groups = f"{count(len(design.groups) - 1, 'group')} of '{design.grouping}'"
    return f"MrVI compared {len(design.samples)} samples of {what}{paired} in {groups}."


def _without_conditions(
    distances: pd.DataFrame, design: SampleDesign, keys: Replicates, options: SamplesOptions
) -> str:
    why = f"'{keys.condition_key}' holds one condition" if keys.condition_key else "no condition_key is set"
    whole = distances[distances["group"] == ALL_CELLS]
    share = float((whole["normalized_distance"] > options.min_normalized_distance).mean())
    text = (
        f"As {why}, samples are described and no conditions are compared: {share:.0%} of the pairs of samples differ "
        "by more than the model's own noise over all cells."
    )
    if len(design.samples) < FEWEST_SAMPLES:
        text += f" Fewer than {FEWEST_SAMPLES} samples are not clustered."
    return text


def _about_separation(
    effects: pd.DataFrame, against: str, design: SampleDesign, options: SamplesOptions
) -> list[str]:
    """Which groups a condition parts, how much of it is above noise, and which could not be tested."""
    compared = effects["reason"].isna()
    groups = effects[(effects["group"] != ALL_CELLS) & compared]
    testable = groups["smallest_p"] <= options.fdr
    tested, few = groups[testable], groups[~testable]
    parted = tested[tested["silhouette_p_adjusted"] <= options.fdr]
    sentences = []
    if len(parted):
        most = parted.loc[parted["effect"].idxmax()]
        sentences.append(
            f"{against}: samples are parted in {len(parted)} of {len(tested)} groups that can be tested "
            f"(silhouette of the sample distances, permutation of conditions over samples, FDR ≤ {options.fdr:g}); "
            f"it moves {most['group']} most, by {most['effect']:.2f} where samples of one condition lie "
            f"{most['within']:.2f} apart (silhouette {most['silhouette']:.2f}, p = {most['silhouette_p']:.2g})."
        )
    elif len(tested):
        least = tested.loc[tested["silhouette_p"].idxmin()]
        sentences.append(
            f"{against}: samples are parted in none of {len(tested)} groups that can be tested (FDR ≤ "
            f"{options.fdr:g}); the smallest p is {least['silhouette_p']:.2g}, in {least['group']}."
        )
    sentences += [
        f"Over all cells {row.above_noise:.0%} of the pairs of samples of {row.condition} and {design.reference}, "
        f"and {row.above_noise_within:.0%} of those of one condition, differ by more than the model's own noise."
        for row in effects[(effects["group"] == ALL_CELLS) & compared].itertuples()
    ]
    untested = [f"{row.group} (no p below {row.smallest_p:.2g} is possible)" for row in few.itertuples()]
    missing = effects[(effects["group"] != ALL_CELLS) & ~compared]
    untested += [f"{row.group} ({row.reason})" for row in missing.itertuples()]
    if untested:
        sentences.append(
            f"Too few samples to test {against} in {up_to(untested, N_NAMED)}; distances are given, and say "
            "nothing of replicates there."
        )
    return sentences


def _about_genes(expression: pd.DataFrame, condition: str, options: SamplesOptions) -> list[str]:
    """The genes changed most, and whether sums by sample say the same."""
    whole = expression[expression["group"] == ALL_CELLS].sort_values("rank")
    if whole.empty:
        return []
    named = ", ".join(
        f"{row.symbol} ({row.lfc:+.1f} in {row.share_of_cells:.0%} of cells)"
        for row in whole.head(N_NAMED).itertuples()
    )
    changed = f"Genes that {condition} changes most over all cells, by log2 fold change: {named}"
    tested = whole[whole["pseudobulk_p_adjusted"].notna()]
    if len(tested) < FEWEST_GENES:
        return [f"{changed}; sums by sample could not be tested beside."]
    rho = tested[["lfc", "pseudobulk_lfc"]].corr(method="spearman").iloc[0, 1]
    first = tested.head(options.top_genes)
    same_direction = np.sign(first["lfc"]) == np.sign(first["pseudobulk_lfc"])
    agreeing = int((same_direction & (first["pseudobulk_p_adjusted"] <= options.fdr)).sum())
    return [
        f"{changed}; of the first {len(first)}, {agreeing} are found in the same direction by tests of "
        f"counts summed by sample (FDR ≤ {options.fdr:g}; fold changes of all genes: Spearman ρ = {rho:.2f})."
    ]


def _about_abundance(
    abundance: pd.DataFrame, condition: str, design: SampleDesign, options: SamplesOptions
) -> list[str]:
    """Where u is not free of the condition, and where its cells are denser."""
    groups = abundance[(abundance["group"] != ALL_CELLS) & (abundance["smallest_p"] <= options.fdr)]
    if groups.empty:
        return []
    sentences = []
    told = groups[(groups["own_condition_p_adjusted"] <= options.fdr) & (groups["own_condition"] >= TELLING)]
    if len(told):
        most = told.sort_values("own_condition", ascending=False).head(N_NAMED)
        named = ", ".join(f"{row.group} ({row.own_condition:.0%})" for row in most.itertuples())
        sentences.append(
            f"u is not free of {condition} in {named}: it tells the condition of a cell with that probability (50 % by "
            "chance), so that part of the effect stays in u, and effects and fold changes are too small there."
        )
    found = groups[groups["p_adjusted"] <= options.fdr]
    if found.empty:
        least = groups.loc[groups["p"].idxmin()]
        sentences.append(
            f"No group is denser in {condition} or {design.reference} (FDR ≤ {options.fdr:g}; the smallest p is "
            f"{least['p']:.2g}, in {least['group']})."
        )
        return sentences
    order = (found["probability"] - 0.5).abs().sort_values(ascending=False).index
    named = ", ".join(
        f"{row.group} in {condition if row.probability > 0.5 else design.reference} "
        f"({max(row.probability, 1 - row.probability):.0%}, p = {row.p:.2g})"
        for row in found.loc[order].head(N_NAMED).itertuples()
    )
    sentences.append(
        f"Denser where both conditions would be expected with 50 %: {named} (FDR ≤ {options.fdr:g})."
    )
    return sentences


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """In how many groups of cells the condition parts the samples."""
    summary = contents.get("sample_summary")
    if not summary:
        return None
    fdr = study.options["samples"].fdr
    groups = [row for row in summary["effects"] if row["group"] != ALL_CELLS and row["reason"] is None]
    tested = [row for row in groups if row["smallest_p"] <= fdr]
    n_samples = count(len(summary["samples"]), "sample")
    if not tested:
        return Headline(f"{n_samples} described; too few to test what parts them", Trust.UNCERTAIN)
    parted = [row for row in tested if (row["silhouette_p_adjusted"] or 1) <= fdr]
    against = f"{tested[0]['condition']} against {summary['reference']}"
    return Headline(
        f"{against} parts {n_samples} in {len(parted)} of {count(len(tested), 'group')}", Trust.HOLDS
    )
