"""Trials of one model with other options, and which of them to take."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.search.choice import choose_trial
from scvi_downstream.pipelines.search.plots import plot_search, plot_search_options
from scvi_downstream.pipelines.search.search import run_search

_OPTIONS = (
    "models",
    "primary",
    "keys",
    "search",
    "embedding",
    "comparison",
    "evaluation",
    "seed",
    "accelerator",
)
_SEARCHED = {
    "counts": "counts",
    "pca_latent": "pca.latent",
    "store": "params:checkpoint.search",
    **{name: f"params:{name}" for name in _OPTIONS},
}
_RECORDS = ["search_records", "params:models", "params:search", "params:training"]
_ENDS = ["search_trials", "search_summary"]


def template() -> Pipeline:
    """Counts, models ─► search_records ─► search_trials, search_summary, search_best ─► figures."""
    return Pipeline(
        [
            step(run_search, _SEARCHED, "search_records"),
            step(choose_trial, _RECORDS, [*_ENDS, "search_best"]),
            step(plot_search, ["search_records", *_ENDS], "search_figure"),
            step(plot_search_options, _ENDS, "search_options_figure"),
        ],
        tags="search",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Better options of one model.

    Raises
    ------
    InputError
        A search that cannot be, as far as the parameters tell.
    """
    study.options["search"].check(study.parameters["models"], study.primary, study.keys)
    return template()
