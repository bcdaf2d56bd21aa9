"""Differential expression on the primary model, with classical tests beside it."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.de.nodes import (
    call_genes,
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
_TESTS = ["de_bayesian", "de_calls", "de_wilcoxon", "de_pseudobulk"]
_RESULTS = ["de_results", "params:de"]
_MARKERS = ["counts", "clusters", "markers"]


def template() -> Pipeline:
    """fitted, counts, clusters ─► three tests ─► calls ─► de_results ─► concordance, markers, figures."""
    bayesian = ["fitted", *_GROUPS, "params:seed", "params:accelerator"]
    evidence = ["counts", "clusters", "de_bayesian", "de_pseudobulk", "params:replicates", "params:de"]
    compared = ["de_results", "de_concordance"]
    return Pipeline(
        [
            step(rank_bayesian, bayesian, "de_bayesian"),
            step(rank_wilcoxon, _GROUPS, "de_wilcoxon"),
            step(rank_pseudobulk, ["counts", "clusters", "params:replicates", "params:de"], "de_pseudobulk"),
            step(call_genes, evidence, "de_calls"),
            step(combine_results, _TESTS, "de_results"),
            step(tabulate_concordance, _RESULTS, "de_concordance"),
            step(select_markers, _RESULTS, "markers"),
            step(plot_volcano, _RESULTS, "volcano_figure"),
            step(plot_dotplot, _MARKERS, "markers_dotplot_figure"),
            step(plot_heatmap, _MARKERS, "markers_heatmap_figure"),
            step(plot_concordance, compared, "de_concordance_figure"),
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
