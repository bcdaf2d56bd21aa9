"""Does the fitted model generate counts like those observed?"""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="predictive_checks",
    box="models",
    options="PredictiveCheckOptions",
    evidence="predictive_summary",
    summaries=("predictive_summary",),
    metrics={"predictive_summary": "predictive_checks"},
)
