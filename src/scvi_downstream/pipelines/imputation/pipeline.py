"""Denoised and counterfactual expression of the primary model, scored on held-out counts."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.imputation.nodes import decode_counterfactual, denoise_expression
from scvi_downstream.pipelines.imputation.plots import plot_imputation, plot_imputation_scores
from scvi_downstream.pipelines.imputation.scoring import score_imputation

_RUN = ["params:imputation", "params:seed", "params:accelerator"]
_DECODED = ["fitted", "counts", "markers", "params:keys", *_RUN]
_DRAWN = ["counts", "expression", "umap", "markers", "params:imputation"]
_SCORES = ["imputation_scores", "imputation_by_gene"]


def template(*, counterfactual: bool = False) -> Pipeline:
    """fitted, counts ─► expression ─► figure; fitted, thinned counts ─► scores ─► figure.

    With ``counterfactual`` every cell is also decoded as if from the batches in ``transform_batch``.
    """
    nodes = [
        step(denoise_expression, _DECODED, "expression"),
        step(score_imputation, ["fitted", "counts", *_RUN], _SCORES),
        step(plot_imputation, _DRAWN, "imputation_figure"),
        step(plot_imputation_scores, _SCORES, "imputation_score_figure"),
    ]
    if counterfactual:
        nodes.append(step(decode_counterfactual, _DECODED, "expression_counterfactual"))
    return Pipeline(nodes, tags="imputation")


def create_pipeline(study: Study) -> Pipeline:
    """Nodes of the primary model.

    Raises
    ------
    InputError
        Cells are to be decoded as of other batches, but the model does not know these.
    """
    counterfactual = bool(study.options["imputation"].transform_batch)
    if counterfactual:
        study.require_batches("imputation.transform_batch")
    return on_model(template(counterfactual=counterfactual), study.primary, ["fitted", "umap"])
