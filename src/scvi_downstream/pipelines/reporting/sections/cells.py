"""Clusters, expression tests and imputation in the report."""

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

CLUSTERS = Section(
    "Clusters",
    "Leiden communities of the neighbours graph, k-means and Ward's method on the latent of the primary "
    "model.",
    (
        Item(dataset="{primary}.clusters_figure", caption="Clusters on the UMAP of {primary}."),
        Item(
            dataset="{primary}.clustering_figure",
            caption="How stable the clusterings are when cells are left out, and how far they agree.",
        ),
        Item(dataset="{primary}.dendrogram_figure", caption="Ward's dendrogram."),
        Item(
            dataset="{primary}.clustering_summary",
            caption="The recommended clustering, and why.",
            file=OUTPUT + "{model}/clustering_summary.json",
            folded=True,
        ),
        Item(
            dataset="{primary}.leiden_stability",
            caption="Stability of each Leiden resolution.",
            file=OUTPUT + "{model}/leiden_stability.csv",
            folded=True,
        ),
        Item(
            dataset="{primary}.cluster_agreement",
            caption="Agreement of the clusterings with one another and with what is known.",
            file=OUTPUT + "{model}/cluster_agreement.csv",
            folded=True,
        ),
    ),
)
EXPRESSION = Section(
    "Differential expression and markers",
    "The Bayesian test gives the probability that a gene's change is larger than the threshold; "
    "classical tests on the counts stand beside it.",
    (
        Item(
            dataset="dotplot_figure",
            caption="Top markers of each cluster: share of expressing cells and mean expression.",
        ),
        Item(dataset="heatmap_figure", caption="Top markers of each cluster in single cells."),
        Item(
            dataset="markers",
            caption="Markers of each group, the best first.",
            file=OUTPUT + "markers.csv",
            groups=("grouping", "group"),
            columns=names(
                "grouping group rank gene lfc_median "
                "proba_de expected_fdr fraction1 fraction2 specificity wilcoxon_p_adjusted"
            ),
        ),
        Item(dataset="volcano_figure", caption="Effect and evidence of each gene, by comparison."),
        Item(dataset="concordance_figure", caption="How far the Bayesian and the classical tests agree."),
        Item(
            dataset="de_concordance",
            caption="Concordance of the tests by comparison.",
            file=OUTPUT + "de_concordance.csv",
            folded=True,
        ),
        Item(
            dataset="de_results",
            caption="Strongest genes of each comparison.",
            file=OUTPUT + "de_results.parquet",
            groups=("grouping", "comparison"),
            columns=names(
                "grouping comparison gene lfc_median lfc_lower lfc_upper "
                "proba_de bayes_factor expected_fdr is_de wilcoxon_p_adjusted pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
    ),
)
IMPUTATION = Section(
    "Imputation",
    "Denoised expression, and what it is worth: part of each cell's counts is held out and predicted from "
    "the rest.",
    (
        Item(
            dataset="imputation_score_figure",
            caption="Error and correlation on held-out counts, against naive baselines.",
        ),
        Item(
            dataset="imputation_scores",
            caption="Scores on held-out counts.",
            file=OUTPUT + "imputation_scores.json",
            folded=True,
        ),
        Item(
            dataset="imputation_by_gene",
            caption="Scores by gene, the most abundant first.",
            file=OUTPUT + "imputation_by_gene.csv",
            order="mean_held_out",
            folded=True,
        ),
        Item(dataset="imputation_figure", caption="Raw counts beside denoised expression on the UMAP."),
    ),
)
