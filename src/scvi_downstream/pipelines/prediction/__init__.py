"""What cells would express in another condition: predicted from cells, scored against what is measured."""

from scvi_downstream.pipelines.declaration import Analysis, Need, Uns

ANALYSIS = Analysis(
    name="prediction",
    options="PredictionOptions",
    needs={
        "prediction": Need(
            lambda study: bool(study.keys.condition_key and (study.keys.sample_key or study.keys.label_key)),
            "Expression under other conditions was not predicted, since condition_key is empty.",
        )
    },
    evidence="prediction_summary",
    summaries=("prediction_summary",),
    metrics={"prediction_summary": "prediction"},
    joins={"prediction_scores": Uns()},
    files={"predicted_expression": "expression under other conditions"},
    may_be_empty=("predicted_expression",),
)
