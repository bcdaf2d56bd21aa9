"""Trials of one model with other options, and which of them to take."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.models.search_space import check_search
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.search.nodes import choose_trial, run_search
from scvi_downstream.pipelines.search.plots import plot_search, plot_search_options


def template() -> Pipeline:
    """Counts, models ─► search_records ─► search_trials, search_summary, search_best ─► figures."""
    return Pipeline(
        [
            Node(
                run_search,
                {
                    "counts": "counts",
                    "pca_latent": "pca.latent",
                    "models": "params:models",
                    "primary": "params:primary",
                    "keys": "params:keys",
                    "search": "params:search",
                    "embedding": "params:embedding",
                    "comparison": "params:comparison",
                    "evaluation": "params:evaluation",
                    "seed": "params:seed",
                    "accelerator": "params:accelerator",
                    "store": "search_store",
                },
                "search_records",
                name="run_search",
            ),
            Node(
                choose_trial,
                ["search_records", "params:models", "params:search"],
                ["search_trials", "search_summary", "search_best"],
                name="choose_trial",
            ),
            Node(
                plot_search,
                ["search_records", "search_trials", "search_summary"],
                "search_figure",
                name="plot_search",
            ),
            Node(
                plot_search_options,
                ["search_trials", "search_summary"],
                "search_options_figure",
                name="plot_search_options",
            ),
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
    check_search(study.options["search"], study.parameters["models"], study.primary, study.keys)
    return template()
