"""What cells would express in another condition: predicted from cells, scored against what is measured."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.models.families import prediction_spec
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.prediction.nodes import (
    compare_predictions,
    hold_out_cells,
    summarize_prediction,
    train_mrvi,
    train_scvi,
)
from scvi_downstream.pipelines.prediction.plots import (
    plot_prediction_changes,
    plot_prediction_genes,
    plot_prediction_scores,
)

_TABLES = [
    "predicted_expression",
    "prediction_scores",
    "prediction_differences",
    "prediction_groups",
    "prediction_by_gene",
]


def template(*, samples: bool) -> Pipeline:
    """Counts ─► split ─► scVI (and MrVI, with samples) of the kept cells ─► predictions ─► scores, verdict, figures."""
    training = ["counts", "prediction_split", "params:prediction", "params:training", "params:seed"]
    mrvi = Node(
        train_mrvi,
        [*training, "params:accelerator", "prediction_mrvi_checkpoint"],
        ["prediction_mrvi_model", "prediction_mrvi_training"],
        name="train_mrvi_for_prediction",
    )
    models = {"prediction_model": "prediction_model"}
    summaries = {"scvi": "prediction_training"}
    if samples:
        models["prediction_mrvi_model"] = "prediction_mrvi_model"
        summaries["mrvi"] = "prediction_mrvi_training"
    return Pipeline(
        [
            Node(
                hold_out_cells,
                ["counts", "params:keys", "params:prediction", "params:seed"],
                ["prediction_split", "prediction_design"],
                name="hold_out_conditions",
            ),
            Node(
                train_scvi,
                [*training, "params:accelerator", "prediction_checkpoint"],
                ["prediction_model", "prediction_training"],
                name="train_scvi_for_prediction",
            ),
            *([mrvi] if samples else []),
            Node(
                compare_predictions,
                {
                    "counts": "counts",
                    "prediction_split": "prediction_split",
                    "prediction_design": "prediction_design",
                    "options": "params:prediction",
                    "seed": "params:seed",
                    "accelerator": "params:accelerator",
                }
                | models,
                _TABLES,
                name="compare_predictions",
            ),
            Node(
                summarize_prediction,
                {
                    name: name
                    for name in (
                        "prediction_design",
                        "prediction_scores",
                        "prediction_differences",
                        "prediction_groups",
                    )
                }
                | summaries,
                "prediction_summary",
                name="summarize_prediction",
            ),
            Node(
                plot_prediction_scores,
                ["prediction_scores", "prediction_groups"],
                "prediction_scores_figure",
                name="plot_prediction_scores",
            ),
            Node(
                plot_prediction_changes,
                ["predicted_expression", "prediction_scores"],
                "prediction_changes_figure",
                name="plot_prediction_changes",
            ),
            Node(
                plot_prediction_genes,
                ["predicted_expression", "params:prediction"],
                "prediction_genes_figure",
                name="plot_prediction_genes",
            ),
        ],
        tags="prediction",
    )


def create_pipeline(study: Study) -> Pipeline:
    """By models of their own, which have not seen the cells to predict.

    Raises
    ------
    InputError
        An option of these models that does not exist.
    """
    options, training = study.options["prediction"], study.options["training"]
    for family, given in (("SCVI", options.scvi), ("MRVI", options.mrvi)):
        prediction_spec(family, given, training)
    return template(samples=study.keys.sample_key is not None)
