"""Counts, models and their latent spaces in the report."""

from __future__ import annotations

from typing import Any

from scvi_downstream.report.contents import Item, Section
from scvi_downstream.report.versions import named

SECTION = Section(
    "Latent space",
    "UMAP of the latent space: neighbourhoods carry meaning, distances between far-apart groups do not.",
    (
        Item(
            dataset="{primary}.embedding_figure",
            caption="UMAP of {primary}, the primary model, coloured by what is known of each cell.",
        ),
        Item(
            dataset="{primary}.umap_3d_page",
            caption="The same in three dimensions, to turn and to zoom",
            file="{model}/umap_3d.html",
        ),
        Item(dataset="{model}.embedding_figure", caption="UMAP of {model}.", folded=True),
        Item(dataset="pca.embedding_figure", caption="UMAP of PCA, without a model.", folded=True),
        Item(dataset="harmony.embedding_figure", caption="UMAP of Harmony on PCA.", folded=True),
    ),
)


def describe_embedding(study: Any, n_cells: int) -> str:
    """Neighbours graph and UMAP."""
    options = study.embedding
    search = f"exhaustive search with {named('faiss-cpu', 'Faiss')} [@douze2024]"
    if n_cells > options.exact_up_to:
        search = f"nearest-neighbour descent with {named('pynndescent')} [@dong2011]"
    return (
        "Cells were embedded as the posterior mean of their latent variables. One graph of the "
        f"{options.n_neighbors} nearest neighbours by Euclidean distance ({search}) was shared by all that "
        f"follows. UMAP [@mcinnes2018] ({named('umap-learn')}; minimum distance {options.umap_min_dist:g}, "
        f"spread {options.umap_spread:g}) was computed on it in two and in three dimensions."
    )
