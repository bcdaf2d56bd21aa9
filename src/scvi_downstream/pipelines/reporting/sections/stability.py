"""What hangs on the seed, in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import Item, Section, names

STABILITY = Section(
    "Stability over seeds",
    "The same model, fitted to the same cells with other seeds. What differs between such fits is no finding. Leiden "
    "repeated on the graph of one fit, and other posterior draws of one fit, show how far two fits could agree at "
    "best.",
    (
        Item(
            dataset="{model}.seed_figure",
            caption="{model} with several seeds: spread of scores over seeds beside their standard error over cells, "
            "agreement of Leiden clusters, top genes in common, and clusters that come back.",
        ),
        Item(
            dataset="{model}.seed_scores",
            caption="Scores of {model} over seeds: cell_sd is the standard error over cells; two models fitted once "
            "each must differ by least_difference before their seeds alone are an unlikely reason.",
            file="{model}/seed_scores.csv",
            columns=names("metric n mean sd low high cv cell_sd seed_noise least_difference"),
        ),
        Item(
            dataset="{model}.seed_genes",
            caption="Top genes of each group, those first that come back with most seeds of {model}.",
            file="{model}/seed_genes.csv",
            groups=("group",),
            columns=names("group symbol n_fits_in_top n_fits mean_rank best_rank worst_rank lfc_mean lfc_sd"),
            folded=True,
        ),
        Item(
            dataset="{model}.seed_agreement",
            caption="Agreement of every pair of seeds of {model}, and within one fit.",
            file="{model}/seed_agreement.csv",
            groups=("measure",),
            folded=True,
        ),
        Item(
            dataset="stability_summary",
            caption="What hangs on the seed, in words and numbers.",
            file="stability.json",
            folded=True,
        ),
    ),
)
