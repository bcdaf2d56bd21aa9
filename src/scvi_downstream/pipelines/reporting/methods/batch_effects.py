"""How batch structure was measured before and after the models."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import count, listed


def describe_batch_effects(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
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
