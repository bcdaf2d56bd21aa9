"""How expression under other conditions was predicted and scored."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.pipelines.reporting.versions import named


def describe_prediction(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
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
