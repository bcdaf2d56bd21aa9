"""Denoised expression, and how well the model predicts counts that it has not seen."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="imputation",
    options="ImputationOptions",
    aspects=(
        Need(
            lambda study: bool(study.options["imputation"].transform_batch),
            "Counterfactual expression was left out, since transform_batch is empty.",
        ),
    ),
    evidence="imputation_scores",
    metrics={"imputation_scores": "imputation"},
    files={"expression": "denoised expression"},
)
