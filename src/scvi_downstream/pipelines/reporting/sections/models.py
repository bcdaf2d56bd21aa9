"""Counts, models and their latent spaces in the report."""

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.parameters import TrainingOptions
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
_OPTIONS = tuple(
    dict.fromkeys(
        option
        for family in FAMILIES.values()
        for option in family.model_fields
        if option not in ("name", "family", "init_from", "trial_of", "training")
    )
)
_OF_TRAINING = tuple(f"training.{option}" for option in TrainingOptions.model_fields)
COMPARISON = Section(
    "Comparison",
    "All models and baselines on one board, by the same metrics on the same cells. In brackets stand 95 % intervals: "
    "how far a score would move with other cells of the same kind, not with another training.",
    (
        Item(dataset="leaderboard_figure", caption="Scores of all models and baselines."),
        Item(
            dataset="pareto_figure",
            caption="What each model is worth against what it costs: nothing beats those on the front in both.",
        ),
        Item(
            dataset="leaderboard",
            caption="Leaderboard. Behind the best: the difference in the criterion that chose the champion, on the "
            "same cells. Mean rank: of bio conservation, batch correction and likelihood.",
            file="leaderboard.csv",
            columns=(
                *names("model family kind trial_of"),
                *_OPTIONS,
                *_OF_TRAINING,
                *names("scib_total scib_bio_conservation scib_batch_correction elbo_test marginal_ll_test"),
                *names("behind_best mean_rank pareto seconds peak_memory_mb epochs n_parameters"),
                *names(
                    "scib_isolated_labels scib_leiden_nmi scib_leiden_ari scib_kmeans_nmi scib_kmeans_ari"
                ),
                *names("scib_silhouette_label scib_clisi scib_bras scib_ilisi scib_kbet"),
                *names("scib_graph_connectivity scib_pcr_comparison elbo_validation left_out failed"),
            ),
        ),
        Item(dataset="dimensions_figure", caption="How many latent dimensions the held-out cells call for."),
        Item(
            dataset="correction_figure",
            caption="Whether batches call for correction, and what correcting did.",
        ),
        Item(dataset="champion", caption="The champion, and why.", file="champion.json", folded=True),
        Item(
            dataset="{primary}.integration",
            caption="Integration metrics of {primary}.",
            file=OUTPUT + "{model}/integration.json",
            folded=True,
        ),
    ),
)
