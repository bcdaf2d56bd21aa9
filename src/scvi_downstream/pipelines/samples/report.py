"""Samples compared by MrVI in the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import sample_column
from scvi_downstream.models.mrvi import nuisance_batch, sample_warnings
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.samples.design import ALL_CELLS, FEWEST_SAMPLES, SampleDesign
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.report.contents import OUTPUT, Item, Section, names

SECTION = Section(
    "Samples",
    "What samples and conditions change, as MrVI sees it. Every cell has a state u apart from its sample and a state z "
    "in its sample; the distance of two samples is that of the states z which the same cell would have in them. "
    "Tests permute conditions over samples, within pairs where samples pair up: they are about samples, not cells.",
    (
        Item(
            dataset="sample_distances_figure",
            caption="Mean distance of samples over the cells of each group, samples in the order of their tree; lines "
            "part its clusters, the strip above shows the condition.",
        ),
        Item(
            dataset="sample_map_figure",
            caption="Samples of each group as points (multidimensional scaling of the distances); lines join the "
            "samples of a pair. p: permutations of conditions over samples.",
        ),
        Item(
            dataset="sample_effects",
            caption="What each condition does in each group: distances within and between conditions, silhouette, how "
            "far it moves a cell (units of z), in how many cells, and whether permuted conditions do as much.",
            file=OUTPUT + "sample_effects.csv",
            columns=names(
                "group condition reference n_cells n_samples n_pairs within between above_noise silhouette "
                "silhouette_p silhouette_p_adjusted effect effect_p_adjusted share_of_cells smallest_p reason"
            ),
        ),
        Item(
            dataset="sample_expression_figure",
            caption="Genes that conditions change most: log2 fold change of the decoded expression (colour), share of "
            "cells (size), and whether counts summed by sample say the same (ring).",
        ),
        Item(
            dataset="sample_expression",
            caption="Genes that conditions change, by group. Fold changes are those of the model, p-values those of "
            "counts summed by sample.",
            file=OUTPUT + "sample_expression.parquet",
            groups=("group", "condition"),
            columns=names(
                "group condition reference symbol mean_condition mean_reference lfc lfc_sd share_of_cells "
                "pseudobulk_lfc pseudobulk_p pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
        Item(
            dataset="sample_abundance_figure",
            caption="Where cells of a condition are denser in u, and the mean probability of the condition by group.",
        ),
        Item(
            dataset="sample_abundance",
            caption="Abundance by group; own_condition is how well u tells the condition of a cell (0.5: not at all), "
            "which leaves nothing to z where it is near 1.",
            file=OUTPUT + "sample_abundance.csv",
            folded=True,
        ),
        Item(
            dataset="sample_counterfactuals",
            caption="Mean expression of the cells of each group as if all were of one sample, beside what was measured "
            "in the sample's own cells (counts per 10,000 of the modelled genes).",
            file=OUTPUT + "sample_counterfactuals.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_clusters",
            caption="Clusters of samples in each group.",
            file=OUTPUT + "sample_clusters.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_distances",
            caption="Distances of all pairs of samples; the normalised ones are in standard deviations of the noise.",
            file=OUTPUT + "sample_distances.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_summary",
            caption="The verdicts in words and numbers.",
            file=OUTPUT + "sample_summary.json",
            folded=True,
        ),
    ),
)


def describe_samples(options: SamplesOptions, keys: Keys, graph: Study) -> str:
    """How samples were compared; empty where they were not.

    Parameters
    ----------
    options
        Of the comparison.
    keys
        Sample, condition, label.
    graph
        Names the model.
    """
    name = graph.first_with("sample_distances")
    if "samples" not in graph.analyses or name is None:
        return ""
    groups = options.grouping or keys.label_key or "leiden"
    text = [
        f"Samples (`{keys.sample_key}`{_crossed(keys)}) were compared by MrVI [@boyeau2022] (`{name}`) in the groups "
        f"of `{groups}`. The distance of two samples in a cell is the Euclidean distance of the states z that the "
        "cell's u has in them; distances were averaged over the cells of a group, and normalised by the "
        f"distances of two draws of a cell's own z from the posterior ({options.noise_draws} draws, at most "
        f"{options.max_cells_per_group:,} cells of a group). Samples of at least {options.min_cells_per_sample} cells "
        "in a group were clustered by average linkage and cut where the silhouette [@rousseeuw1987] is largest.",
    ]
    if not keys.condition_key:
        return text[0]
    text += [
        "Conditions were compared with the reference condition by the silhouette of the distances and by the root mean "
        "square length of the mean difference of shifts (z - z(u)) over cells; the null distribution is that of "
        f"conditions permuted over samples{_within(keys, options)} (all permutations up to {options.n_permutations:,}, "
        "otherwise as many random ones [@phipson2010]), and p-values were corrected over the groups that have samples "
        "enough to reach significance [@benjamini1995]. The Wald tests of scvi-tools' `differential_expression` were "
        "not used: they are p-values of single cells given the fitted model, scaled by the total variation of samples "
        "and not by that within conditions.",
        "Fold changes compare the decoded expression of a cell under the mean shift of the samples of a condition with "
        "that under the mean shift of the reference's, which is the least-squares contrast with a constant "
        "(scvi-tools fits none, so that its contrast is with all samples); a cell counts as changed from "
        f"{options.min_lfc:g} on (log2 of counts per 10,000 plus one). Beside them "
        "stand moderated t-tests [@smyth2004] of counts summed by sample [@squair2021].",
        "Differential abundance is the ratio of the mean densities of u in the samples of two conditions, without the "
        f"cell's own sample; a density is the mixture of the posteriors of at most {options.max_cells_per_sample:,} "
        "cells. Groups were tested by the mean probability of the condition given u, and u itself by the mean "
        "probability of a cell's own condition: where u tells the condition, part of its effect is not seen in z.",
    ]
    return " ".join(text)


def _crossed(keys: Keys) -> str:
    if not keys.condition_key:
        return ""
    return f", its cells of each `{keys.condition_key}` taken as a sample where it holds several"


def _within(keys: Keys, options: SamplesOptions) -> str:
    if options.block_key:
        return f", within `{options.block_key}`"
    return f", within `{keys.sample_key}` where its samples hold several conditions"


N_NAMED = 5
TELLING = 0.6
"""Probability of a cell's own condition given u from which it is put into words."""


def summarize(
    distances: pd.DataFrame,
    effects: pd.DataFrame,
    expression: pd.DataFrame,
    abundance: pd.DataFrame,
    design: SampleDesign,
    obs: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
) -> dict[str, Any]:
    """Verdicts and their numbers.

    Parameters
    ----------
    distances, effects
        Of :func:`.comparison.measure_distances`.
    expression
        Of :func:`.expression.compare_expression`, with ``symbol``.
    abundance
        By group, of :func:`.abundance.compare_abundance`.
    design
        Samples, conditions, groups.
    obs
        One row a cell.
    keys
        The study's obs columns.
    options
        FDR, number of genes.

    Returns
    -------
    ``sample_column``, ``grouping``, ``samples``, ``conditions``, ``reference``, ``n_pairs``, ``batch`` that was
    corrected and ``batch_reason``; ``effects`` and ``abundance`` by group; ``top_genes`` by group; ``sentences``.
    """
    batch, reason = nuisance_batch(obs, keys)
    warnings = [*([reason] if reason else []), *sample_warnings(obs, sample_column(obs, keys))]
    sentences: list[str] = []
    if not design.compared:
        sentences.append(_without_conditions(distances, design, keys, options))
    for condition in design.compared:
        of_condition = effects[effects["condition"] == condition]
        sentences += _parted(of_condition, condition, design, options)
        sentences += _genes(expression[expression["condition"] == condition], condition, design, options)
        sentences += _abundance(abundance[abundance["condition"] == condition], condition, design, options)
    # The verdict first: a run shows the first sentence when it ends.
    sentences = [*sentences[:1], _scope(design, obs, keys), *map(_sentence, warnings), *sentences[1:]]
    return {
        "sample_column": sample_column(obs, keys),
        "grouping": design.grouping,
        "samples": list(design.samples),
        "conditions": list(dict.fromkeys(design.conditions)),
        "reference": design.reference,
        "n_pairs": design.n_pairs,
        "batch": batch,
        "batch_reason": reason,
        "effects": _records(effects),
        "abundance": _records(abundance),
        "top_genes": {
            str(group): table.sort_values("rank")["symbol"].head(options.top_genes).astype(str).tolist()
            for group, table in expression.groupby("group", sort=False, observed=True)
        },
        "sentences": sentences,
    }


def _scope(design: SampleDesign, obs: pd.DataFrame, keys: Keys) -> str:
    column = sample_column(obs, keys)
    what = f"'{column}'" if column == keys.sample_key else f"'{keys.sample_key}' × '{keys.condition_key}'"
    pairs = design.n_pairs
    paired = f" ({pairs} blocks of paired samples)" if pairs else ""
    n_groups = len(design.groups) - 1
    groups = f"{n_groups} group{'' if n_groups == 1 else 's'} of '{design.grouping}'"
    return f"MrVI compared {len(design.samples)} samples of {what}{paired} in {groups}."


def _without_conditions(
    distances: pd.DataFrame, design: SampleDesign, keys: Keys, options: SamplesOptions
) -> str:
    why = f"'{keys.condition_key}' holds one condition" if keys.condition_key else "no condition_key is set"
    share = _above_noise(distances[distances["group"] == ALL_CELLS], options)
    few = (
        f" Fewer than {FEWEST_SAMPLES} samples are not clustered."
        if len(design.samples) < FEWEST_SAMPLES
        else ""
    )
    return (
        f"As {why}, samples are described and no conditions are compared: {share:.0%} of the pairs of samples differ "
        f"by more than the model's own noise over all cells.{few}"
    )


def _above_noise(distances: pd.DataFrame, options: SamplesOptions) -> float:
    return float((distances["normalized_distance"] > options.min_normalized_distance).mean())


def _parted(
    effects: pd.DataFrame, condition: str, design: SampleDesign, options: SamplesOptions
) -> list[str]:
    """Which groups a condition parts, and which could not be tested."""
    groups = effects[effects["group"] != ALL_CELLS]
    whole = effects[(effects["group"] == ALL_CELLS) & effects["reason"].isna()]
    tested = groups[groups["reason"].isna() & (groups["smallest_p"] <= options.fdr)]
    against = f"{condition} against {design.reference}"
    sentences = []
    if len(tested):
        parted = tested[tested["silhouette_p_adjusted"] <= options.fdr]
        if len(parted):
            most = parted.loc[parted["effect"].idxmax()]
            sentences.append(
                f"{against}: samples are parted in {len(parted)} of {len(tested)} groups that can be tested "
                f"(silhouette of the sample distances, permutation of conditions over samples, FDR ≤ {options.fdr:g}); "
                f"it moves {most['group']} most, by {most['effect']:.2f} where samples of one condition lie "
                f"{most['within']:.2f} apart (silhouette {most['silhouette']:.2f}, p = {most['silhouette_p']:.2g})."
            )
        else:
            least = tested.loc[tested["silhouette_p"].idxmin()]
            sentences.append(
                f"{against}: samples are parted in none of {len(tested)} groups that can be tested (FDR ≤ "
                f"{options.fdr:g}); the smallest p is {least['silhouette_p']:.2g}, in {least['group']}."
            )
    sentences += [
        f"Over all cells {row['above_noise']:.0%} of the pairs of samples of {condition} and {design.reference}, "
        f"and {row['above_noise_within']:.0%} of those of one condition, differ by more than the model's own noise."
        for row in whole.to_dict("records")
    ]
    few = groups[groups["reason"].isna() & ~(groups["smallest_p"] <= options.fdr)]
    missing = groups[groups["reason"].notna()]
    if len(few) or len(missing):
        parts = [f"{row.group} (no p below {row.smallest_p:.2g} is possible)" for row in few.itertuples()]
        parts += [f"{row.group} ({row.reason})" for row in missing.itertuples()]
        more = f" and {len(parts) - N_NAMED} more" if len(parts) > N_NAMED else ""
        sentences.append(
            f"Too few samples to test {against} in {', '.join(parts[:N_NAMED])}{more}; distances are given, and say "
            "nothing of replicates there."
        )
    return sentences


def _genes(
    expression: pd.DataFrame, condition: str, design: SampleDesign, options: SamplesOptions
) -> list[str]:
    """The genes changed most, and whether sums by sample say the same."""
    whole = expression[expression["group"] == ALL_CELLS].sort_values("rank")
    if whole.empty:
        return []
    top = whole.head(N_NAMED)
    named = ", ".join(
        f"{row.symbol} ({row.lfc:+.1f} in {row.share_of_cells:.0%} of cells)" for row in top.itertuples()
    )
    sentence = f"Genes that {condition} changes most over all cells, by log2 fold change: {named}"
    tested = whole[whole["pseudobulk_p_adjusted"].notna()]
    if len(tested) < 3:
        return [f"{sentence}; sums by sample could not be tested beside."]
    rho = tested[["lfc", "pseudobulk_lfc"]].corr(method="spearman").iloc[0, 1]
    first = tested.head(options.top_genes)
    agreeing = (first["pseudobulk_p_adjusted"] <= options.fdr) & (
        np.sign(first["lfc"]) == np.sign(first["pseudobulk_lfc"])
    )
    return [
        f"{sentence}; of the first {len(first)}, {int(agreeing.sum())} are found in the same direction by tests of "
        f"counts summed by sample (FDR ≤ {options.fdr:g}; fold changes of all genes: Spearman ρ = {rho:.2f})."
    ]


def _abundance(
    abundance: pd.DataFrame, condition: str, design: SampleDesign, options: SamplesOptions
) -> list[str]:
    groups = abundance[(abundance["group"] != ALL_CELLS) & (abundance["smallest_p"] <= options.fdr)]
    if groups.empty:
        return []
    sentences = []
    kept = groups[(groups["own_condition_p_adjusted"] <= options.fdr) & (groups["own_condition"] >= TELLING)]
    if len(kept):
        named = ", ".join(
            f"{row.group} ({row.own_condition:.0%})"
            for row in kept.sort_values("own_condition", ascending=False).head(N_NAMED).itertuples()
        )
        sentences.append(
            f"u is not free of {condition} in {named}: it tells the condition of a cell with that probability (50 % by "
            "chance), so that part of the effect stays in u, and effects and fold changes are too small there."
        )
    found = groups[groups["p_adjusted"] <= options.fdr]
    if found.empty:
        least = groups.loc[groups["p"].idxmin()]
        return [
            *sentences,
            f"No group is denser in {condition} or {design.reference} (FDR ≤ {options.fdr:g}; the smallest p is "
            f"{least['p']:.2g}, in {least['group']}).",
        ]
    order = (found["probability"] - 0.5).abs().sort_values(ascending=False).index
    named = ", ".join(
        f"{row.group} in {condition if row.probability > 0.5 else design.reference} "
        f"({max(row.probability, 1 - row.probability):.0%}, p = {row.p:.2g})"
        for row in found.loc[order].head(N_NAMED).itertuples()
    )
    return [
        *sentences,
        f"Denser where both conditions would be expected with 50 %: {named} (FDR ≤ {options.fdr:g}).",
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with plain numbers; ``None`` where there is none."""
    return [
        {
            name: (None if isinstance(value, float) and not np.isfinite(value) else value)
            for name, value in row.items()
        }
        for row in table.astype(object).to_dict("records")
    ]
