"""The section on the latent space."""

from __future__ import annotations

from scvi_downstream.pipelines.comparison.options import BASELINES
from scvi_downstream.report.sections import Item, Section

SECTION = Section(
    "Latent space",
    "UMAP of the latent space: neighbourhoods carry meaning, distances between far-apart groups do not.",
    (
        Item(
            dataset="{primary}.embedding_figure",
            caption="UMAP of {primary}, the primary model, coloured by what is known of each cell.",
        ),
        Item(dataset="{model}.embedding_figure", caption="UMAP of {model}.", folded=True),
        *(
            Item(dataset=f"{key}.embedding_figure", caption=f"UMAP of {title}, without a model.", folded=True)
            for key, title in BASELINES.items()
        ),
    ),
)
