"""What of a model's results hangs on its seed: scores, clusters, top genes, the shape of the latent."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="stability",
    box="models",
    options="StabilityOptions",
    needs={"stability": Need(lambda study: bool(study.seeds))},
    asked_for="models",
    brings=("preparation", "training", "embedding", "clustering", "evaluation"),
    evidence="stability_summary",
    summaries=("stability_summary",),
    metrics={"stability_summary": "stability", "seed_summary": "stability"},
)
