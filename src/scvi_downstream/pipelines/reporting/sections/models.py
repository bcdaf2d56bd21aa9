"""Counts, models and their latent spaces in the report."""

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

QUALITY = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item(dataset="qc_figure", caption="Quality metrics per cell, with the filters that were applied."),
        Item(dataset="hvg_figure", caption="Highly variable genes: those that the models see."),
    ),
)
TRAINING = Section(
    "Models and training",
    "Every model was fitted to the same cells and genes; with early stopping the best epoch is kept.",
    (
        Item(
            dataset="{model}.training_summary",
            caption="How each model was fitted and what it cost.",
            file="../../06_models/{study}/{model}/training_summary.json",
            columns=names(
                "model family n_latent n_parameters epochs "
                "best_epoch stopped_early seconds peak_memory_mb device"
            ),
        ),
        Item(dataset="{model}.history_figure", caption="Training and validation curves of {model}."),
        Item(
            dataset="{model}.scores",
            caption="All scores of each model.",
            file=OUTPUT + "{model}/scores.json",
            folded=True,
        ),
    ),
)
LATENT = Section(
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
COMPARISON = Section(
    "Comparison",
    "All models and baselines on one board, by the same metrics on the same cells.",
    (
        Item(dataset="leaderboard_figure", caption="Scores of all models and baselines."),
        Item(dataset="leaderboard", caption="Leaderboard.", file="leaderboard.csv"),
        Item(dataset="champion", caption="The champion, and why.", file="champion.json", folded=True),
        Item(
            dataset="{primary}.integration",
            caption="Integration metrics of {primary}.",
            file=OUTPUT + "{model}/integration.json",
            folded=True,
        ),
    ),
)
