"""What cells would express in another condition: predicted from cells, scored against what is measured."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import bound, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.prediction.design import hold_out_cells
from scvi_downstream.pipelines.prediction.plots import (
    plot_prediction_changes,
    plot_prediction_genes,
    plot_prediction_scores,
)
from scvi_downstream.pipelines.prediction.report import summarize_prediction
from scvi_downstream.pipelines.prediction.scores import compare_predictions
from scvi_downstream.pipelines.prediction.training import train_on_kept

_FAMILIES = ("SCVI", "MRVI")
_HOLD_OUT = ["counts", "params:keys", "params:prediction", "params:seed"]
_SPLIT = ["prediction_split", "prediction_design"]
_RUN = ["params:seed", "params:accelerator"]
_TRAIN = ["counts", "prediction_split", "params:prediction", "params:training", *_RUN]
_SCORES = ["prediction_scores", "prediction_differences", "prediction_groups"]


def template(*, samples: bool) -> Pipeline:
    """Counts ─► split ─► scVI (and MrVI, with samples) of the kept cells ─► predictions ─► scores, verdict, figures."""
    scvi, mrvi = [*_TRAIN, "params:checkpoint.prediction"], [*_TRAIN, "params:checkpoint.prediction_mrvi"]
    fitted_scvi = ["prediction_model", "prediction_training"]
    fitted_mrvi = ["prediction_mrvi_model", "prediction_mrvi_training"]
    compared = ["counts", *_SPLIT, "params:replicates", "params:prediction", *_RUN, "prediction_model"]
    summarized = {name: name for name in ("prediction_design", *_SCORES)} | {"scvi": "prediction_training"}
    tables = ["predicted_expression", *_SCORES, "prediction_by_gene"]
    scores = ["prediction_scores", "prediction_groups", "counts", "params:keys"]
    changes = ["predicted_expression", "prediction_scores"]
    genes = ["predicted_expression", "params:prediction"]
    train_scvi, train_mrvi = (bound(train_on_kept, family=family) for family in _FAMILIES)
    nodes = []
    if samples:
        nodes.append(Node(train_mrvi, mrvi, fitted_mrvi, name="train_mrvi_for_prediction"))
        compared.append("prediction_mrvi_model")
        summarized["mrvi"] = "prediction_mrvi_training"
    nodes += [
        Node(hold_out_cells, _HOLD_OUT, _SPLIT, name="hold_out_conditions"),
        Node(train_scvi, scvi, fitted_scvi, name="train_scvi_for_prediction"),
        step(compare_predictions, compared, tables),
        step(summarize_prediction, summarized, "prediction_summary"),
        step(plot_prediction_scores, scores, "prediction_scores_figure"),
        step(plot_prediction_changes, changes, "prediction_changes_figure"),
        step(plot_prediction_genes, genes, "prediction_genes_figure"),
    ]
    return Pipeline(nodes, tags="prediction")


def create_pipeline(study: Study) -> Pipeline:
    """By models of their own, which have not seen the cells to predict.

    Raises
    ------
    InputError
        An option of these models that does not exist.
    """
    for family in _FAMILIES:
        study.options["prediction"].spec(family, study.options["training"])
    return template(samples=study.keys.sample_key is not None)
