"""Models with other values of their options, trained and scored beside them."""

from scvi_downstream.pipelines.declaration import Analysis, Need

ANALYSIS = Analysis(
    name="sweep",
    box="models",
    needs={"sweep": Need(lambda study: bool(study.swept))},
    brings=("preparation", "training", "embedding", "clustering", "evaluation", "comparison"),
    brings_to="comparison",
)
