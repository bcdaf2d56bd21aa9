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


def template() -> Pipeline:
    """fitted, counts, clusters ─► three tests ─► de_results ─► concordance, markers, figures."""
    return Pipeline(
        [
            Node(
                rank_bayesian,
                [
                    "fitted",
                    "counts",
                    "clusters",
                    "params:keys",
                    "params:de",
                    "params:seed",
                    "params:accelerator",
                ],
                "de_bayesian",
                name="rank_bayesian",
            ),
            Node(
                rank_wilcoxon,
                ["counts", "clusters", "params:keys", "params:de"],
                "de_wilcoxon",
                name="rank_wilcoxon",
            ),
            Node(
                rank_pseudobulk,
                ["counts", "clusters", "params:keys", "params:de"],
                "de_pseudobulk",
                name="rank_pseudobulk",
            ),
            Node(
                combine_results,
                ["de_bayesian", "de_wilcoxon", "de_pseudobulk"],
                "de_results",
                name="combine_results",
            ),
            Node(
                tabulate_concordance,
                ["de_results", "params:de"],
                "de_concordance",
                name="tabulate_concordance",
            ),
            Node(select_markers, ["de_results", "params:de"], "markers", name="select_markers"),
            Node(plot_volcano, ["de_results", "params:de"], "volcano_figure", name="plot_volcano"),
            Node(plot_dotplot, ["counts", "clusters", "markers"], "dotplot_figure", name="plot_dotplot"),
            Node(plot_heatmap, ["counts", "clusters", "markers"], "heatmap_figure", name="plot_heatmap"),
            Node(
                plot_concordance,
                ["de_results", "de_concordance"],
                "concordance_figure",
                name="plot_concordance",
            ),
        ],
        tags="de",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Of the primary model.

    Raises
    ------
    InputError
        Batches are to be averaged over, but the model does not know them.
    """
    if study.options["de"].batch_correction:
        study.require_batches("de.batch_correction")
    return on_model(template(), study.primary, ["fitted", "clusters"])
