"""Surface proteins in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

PROTEINS = Section(
    "Proteins",
    "Surface proteins of the same cells, by totalVI: the background of unbound antibodies is taken away, and proteins "
    "are imputed where a batch did not measure them. How well is told by hiding proteins that were measured.",
    (
        Item(
            dataset="protein_umap_figure",
            caption="The proteins that differ most between groups on the UMAP of the joint latent: as counted (grey "
            "where not measured), and denoised, that is the expected count without background.",
        ),
        Item(
            dataset="protein_imputation_figure",
            caption="Proteins of a batch hidden, imputed and compared with what was measured: Pearson's r by protein "
            "beside nearest neighbours and the protein's mean, and all values.",
        ),
        Item(
            dataset="protein_markers_figure",
            caption="Denoised proteins by group: colour is the mean, area the probability of the foreground.",
        ),
        Item(
            dataset="protein_markers",
            caption="Proteins of each group against the other cells, by totalVI's posterior and by a rank-sum test of "
            "centred log-ratios; both: called by both in the same direction.",
            file=OUTPUT + "protein_markers.parquet",
            groups=("grouping", "group"),
            columns=names(
                "grouping group protein lfc_median lfc_lower lfc_upper proba_de bayes_factor expected_fdr "
                "clr_difference auc p_adjusted both mean mean_rest n"
            ),
        ),
        Item(
            dataset="protein_distributions_figure",
            caption="Counts, parted by whether they are of the foreground, and denoised values; cells in which nothing "
            "is left stand at zero.",
        ),
        Item(
            dataset="protein_imputation",
            caption="Correlation of imputed with measured proteins, with 95 % intervals over cells; minus_knn is the "
            "difference of Pearson's r to the nearest neighbours in PCA.",
            file=OUTPUT + "protein_imputation.csv",
            groups=("held_out",),
            columns=names(
                "held_out kind protein method n_cells pearson pearson_lower pearson_upper spearman minus_knn "
                "minus_knn_lower minus_knn_upper"
            ),
            folded=True,
        ),
        Item(
            dataset="protein_genes",
            caption="Proteins that have the name of a gene: Spearman's ρ with its RNA.",
            file=OUTPUT + "protein_genes.csv",
            folded=True,
        ),
        Item(
            dataset="protein_summary",
            caption="The verdicts in words and numbers.",
            file=OUTPUT + "protein_summary.json",
            folded=True,
        ),
    ),
)
