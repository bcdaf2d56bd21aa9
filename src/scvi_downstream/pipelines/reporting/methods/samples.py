"""How samples were compared."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.samples import SamplesOptions


def describe_samples(options: SamplesOptions, keys: Keys, graph: StudyGraph) -> str:
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
