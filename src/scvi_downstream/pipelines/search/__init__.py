"""Adaptive search for the hyperparameters of one model."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="search",
    box="models",
    options="SearchOptions",
    needs={"search": Need(lambda study: bool(study.options["search"].model))},
    asked_for="model",
    brings=("preparation", "embedding"),
    extra={"ray": "ray", "optuna": "ray"},
    evidence="search_summary",
    summaries=("search_summary",),
    metrics={"search_summary": "search"},
    files={
        "search_trials": "trials of the search",
        "search_best": "the best of them, as an entry of models:",
    },
)
