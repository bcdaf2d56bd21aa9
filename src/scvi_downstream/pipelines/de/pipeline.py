"""Differential expression on the primary model, with classical tests beside it."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.de.nodes import (
    combine_results,
    rank_bayesian,
    rank_pseudobulk,
    rank_wilcoxon,
    select_markers,
    tabulate_concordance,
)
from scvi_downstream.pipelines.de.plots import plot_concordance, plot_dotplot, plot_heatmap, plot_volcano
from scvi_downstream.pipelines.declaration import Study

_GROUPS = ["counts", "clusters", "params:keys", "params:de"]
_TESTS = ["de_bayesian", "de_wilcoxon", "de_pseudobulk"]
_RESULTS = ["de_results", "params:de"]
_MARKERS = ["counts", "clusters", "markers"]


def template() -> Pipeline:
    """fitted, counts, clusters ─► three tests ─► de_results ─► concordance, markers, figures."""
    bayesian = ["fitted", *_GROUPS, "params:seed", "params:accelerator"]
    compared = ["de_results", "de_concordance"]
    return Pipeline(
        [
            Node(rank_bayesian, bayesian, "de_bayesian", name="rank_bayesian"),
            Node(rank_wilcoxon, _GROUPS, "de_wilcoxon", name="rank_wilcoxon"),
            Node(rank_pseudobulk, _GROUPS, "de_pseudobulk", name="rank_pseudobulk"),
            Node(combine_results, _TESTS, "de_results", name="combine_results"),
            Node(tabulate_concordance, _RESULTS, "de_concordance", name="tabulate_concordance"),
            Node(select_markers, _RESULTS, "markers", name="select_markers"),
            Node(plot_volcano, _RESULTS, "volcano_figure", name="plot_volcano"),
            Node(plot_dotplot, _MARKERS, "dotplot_figure", name="plot_dotplot"),
            Node(plot_heatmap, _MARKERS, "heatmap_figure", name="plot_heatmap"),
            Node(plot_concordance, compared, "concordance_figure", name="plot_concordance"),
        ],
        tags="de",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Nodes of the primary model.

    Raises
    ------
    InputError
        Batches are to be averaged over, but the model does not know them.
    """
    if study.options["de"].batch_correction:
        study.require_batches("de.batch_correction")
    return on_model(template(), study.primary, ["fitted", "clusters"])
