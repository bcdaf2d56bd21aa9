"""How well a model describes cells that were held out, fold by fold and batch by batch."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="cross_validation",
    box="models",
    options="CrossValidationOptions",
    needs={"cross_validation": Need(lambda study: bool(study.options["cross_validation"].models))},
    asked_for="models",
    brings=("preparation",),
    summaries=("{model}.cv_summary",),
    metrics={"cv_summary": "cross_validation"},
)
