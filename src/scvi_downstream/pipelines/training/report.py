"""The section on models and their training."""

from __future__ import annotations

from scvi_downstream.report.sections import Item, Section, names, result

SECTION = Section(
    "Models and training",
    "Every model was fitted to the same cells and genes; with early stopping the best epoch is kept.",
    (
        Item(
            dataset="{model}.training_summary",
            caption="How each model was fitted and what it cost.",
            file="../../06_models/{study}/{model}/training_summary.json",
            columns=names(
                "model family n_latent n_parameters epochs "
                "best_epoch stopped_early seconds peak_memory_mb device"
            ),
        ),
        Item(dataset="{model}.history_figure", caption="Training and validation curves of {model}."),
        result("{model}/scores.json", "All scores of each model.", folded=True),
    ),
)
