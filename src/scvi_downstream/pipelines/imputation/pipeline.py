"""Denoised and counterfactual expression of the primary model, scored on held-out counts."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.imputation.nodes import (
    decode_counterfactual,
    denoise_expression,
    score_imputation,
)
from scvi_downstream.pipelines.imputation.plots import plot_imputation, plot_imputation_scores


def template(*, counterfactual: bool = False) -> Pipeline:
    """fitted, counts ─► expression ─► figure; fitted, thinned counts ─► scores ─► figure.

    With ``counterfactual`` every cell is also decoded as if from the batches in ``transform_batch``.
    """
    model = [
        "fitted",
        "counts",
        "markers",
        "params:keys",
        "params:imputation",
        "params:seed",
        "params:accelerator",
    ]
    nodes = [
        Node(denoise_expression, model, "expression", name="denoise_expression"),
        Node(
            score_imputation,
            ["fitted", "counts", "params:imputation", "params:seed", "params:accelerator"],
            ["imputation_scores", "imputation_by_gene"],
            name="score_imputation",
        ),
        Node(
            plot_imputation,
            ["counts", "expression", "umap", "markers", "params:imputation"],
            "imputation_figure",
            name="plot_imputation",
        ),
        Node(
            plot_imputation_scores,
            ["imputation_scores", "imputation_by_gene"],
            "imputation_score_figure",
            name="plot_imputation_scores",
        ),
    ]
    if counterfactual:
        nodes.append(
            Node(decode_counterfactual, model, "expression_counterfactual", name="decode_counterfactual")
        )
    return Pipeline(nodes, tags="imputation")


def create_pipeline(study: Study) -> Pipeline:
    """Of the primary model.

    Raises
    ------
    InputError
        Cells are to be decoded as of other batches, but the model does not know these.
    """
    counterfactual = bool(study.options["imputation"].transform_batch)
    if counterfactual:
        study.require_batches("imputation.transform_batch")
    return on_model(template(counterfactual=counterfactual), study.primary, ["fitted", "umap"])
