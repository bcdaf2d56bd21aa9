"""All models, trials and baselines on one board, and its champion."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="comparison",
    box="models",
    options="ComparisonOptions",
    aspects=(
        Need(
            lambda study: (
                study.options["comparison"].profile != "stock"
                or study.options["comparison"].asks_benchmarker(study.keys)
            ),
            "scib-metrics' own Benchmarker was left out, since it needs label_key and batch_key.",
        ),
    ),
    evidence="leaderboard",
    summaries=("benchmarker_summary",),
    metrics={"dimensions": "dimensions", "correction": "correction"},
    tracked=("leaderboard",),
    files={"leaderboard": "models compared"},
)
