"""What MrVI says of samples and conditions, in numbers and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.mrvi import nuisance_batch, sample_warnings
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.samples import sample_column

from .contrasts import FEWEST_SAMPLES
from .design import ALL_CELLS, SampleDesign

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
