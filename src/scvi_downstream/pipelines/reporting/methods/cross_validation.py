"""How models were cross-validated over folds and batches."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.models.unseen_batches import why_no_unseen_batch
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import count, listed


def describe_cross_validation(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """Folds, intervals, overfitting, and batches that a model has not seen."""
    options = study.cross_validation
    chosen = {name: graph.models[name] for name in options.models if name in graph.models}
    if not chosen:
        return ""
    strata = [f"`{key}`" for key in (keys.batch_key, keys.label_key) if key]
    stratified = f", stratified by {listed(strata)}" if strata else ""
    limit = f" and at most {count(options.max_epochs, 'epoch')}" if options.max_epochs else ""
    text = [
        f"{listed([f'`{name}`' for name in chosen])} {'were' if len(chosen) > 1 else 'was'} fitted anew in "
        f"{options.n_folds}-fold cross-validation{stratified}, with early stopping on validation cells drawn from the "
        f"training folds{limit}; models that start from another were started from one fitted on the same folds. "
        "Highly variable genes had been selected on all cells. "
        "Means over folds have corrected resampled t intervals [@nadeau2003]: the variance of the mean is "
        "(1/K + n_test/n_train) s², as folds share training cells; for K folds this is a heuristic [@bengio2004].",
        "Curves were judged by the slope of the validation loss after its lowest epoch, and a change was reported when "
        "its interval over folds excluded zero and it was at least 0.1 % of the loss. Memorisation was measured on the "
        "same cells under models trained on them and under the model that was not.",
    ]
    by_batch = [name for name, spec in chosen.items() if why_no_unseen_batch(spec, keys) is None]
    if options.batches and by_batch:
        text.append(
            f"{listed([f'`{name}`' for name in by_batch])} {'were' if len(by_batch) > 1 else 'was'} also fitted "
            f"without each batch of `{keys.batch_key}` (a random {options.max_batches}, were there more), on as many "
            "cells as in a fold where there were so many. A cell whose batch is unknown was scored as an equal mixture "
            "over the batches that the model has seen, log p(x) = log 1/B Σ p(x | b), bounded from below with weights "
            "of the batches from separate posterior draws. The cost of an unseen batch is the difference between this "
            "bound under a model of the folds, which has seen other cells of the batch, and under the model that has "
            "not, cell by cell; its interval is Student's t over batches."
        )
    return " ".join(text)
