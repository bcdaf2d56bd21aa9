"""The search for hyperparameters in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import Item, Section

SEARCH = Section(
    "Search",
    "Trials of one model with other hyperparameters. They are judged on validation cells, and integration on training "
    "and validation cells; test cells are only reported. Differences are paired, trial by trial on the same cells, and "
    "do not hold what another random initialisation would change.",
    (
        Item(
            dataset="search_figure",
            caption="Trainings of all trials, the first objective in the order of the trials, and objectives against "
            "each other (or against the size of the model).",
        ),
        Item(
            dataset="search_options_figure",
            caption="The first objective of finished trials by each option that was varied.",
        ),
        Item(
            dataset="search_trials",
            caption="All trials: options, objectives, how far behind the best (and the standard error of that), other "
            "scores, costs, and why a trial was stopped or failed.",
            file="search_trials.csv",
        ),
        Item(
            dataset="search_best",
            caption="The recommended trial as an entry of models:.",
            file="search_best.yml",
            folded=True,
        ),
        Item(
            dataset="search_summary",
            caption="What the search found, in words and numbers.",
            file="search_summary.json",
            folded=True,
        ),
    ),
)
