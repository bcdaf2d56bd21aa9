"""All models, trials and baselines on one board, and its champion."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="comparison",
    options="ComparisonOptions",
    evidence="leaderboard",
    metrics={"dimensions": "dimensions", "correction": "correction"},
    tracked=("leaderboard",),
    files={"leaderboard": "models compared"},
)
