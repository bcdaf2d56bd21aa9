"""Runs of a study, or of several, on one board."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="compare_runs",
    box="models",
    by_name=True,
    summaries=("run_comparison_summary",),
    files={"run_comparison": "runs compared"},
)
