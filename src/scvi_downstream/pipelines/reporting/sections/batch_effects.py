"""Batch effects in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

BATCH_EFFECTS = Section(
    "Batch effects",
    "Is there batch structure before and after the model, how much of the variance is technique, and did the "
    "correction go too far? The null of the classifiers permutes batches among cells of the same biology, so a "
    "difference in composition alone does not count.",
    (
        Item(
            dataset="batch_effects_figure",
            caption="How well the batch can be predicted, and how well batches mix, before the model, on the "
            "latent of the primary model and in corrected expression.",
        ),
        Item(
            dataset="batch_effects",
            caption="Batch structure by representation; kBET and iLISI of batches mixed at random stand beside "
            "the observed ones.",
            file=OUTPUT + "batch_effects.csv",
            columns=names(
                "stage n_cells linear_auc linear_null_mean linear_p neighbor_auc neighbor_null_mean neighbor_p "
                "kbet kbet_mixed kbet_within_labels ilisi ilisi_mixed batch_asw bras pcr"
            ),
        ),
        Item(
            dataset="batch_variance_figure",
            caption="Shares of the variance by batch, by biology and by what cannot be told apart.",
        ),
        Item(
            dataset="batch_variance",
            caption="The same in numbers, adjusted for degrees of freedom, with 95 % intervals.",
            file=OUTPUT + "batch_variance.csv",
            groups=("representation",),
            folded=True,
        ),
        Item(
            dataset="batch_genes_figure",
            caption="Genes that carry the batch most, before and after correction.",
        ),
        Item(
            dataset="batch_genes",
            caption="Genes by the share of their variance that is batch alone.",
            file=OUTPUT + "batch_genes.csv",
            folded=True,
        ),
        Item(
            dataset="batch_by_label",
            caption="Recall of each label by its neighbours: a label that vanishes after correction is a sign of "
            "over-correction.",
            file=OUTPUT + "batch_by_label.csv",
            groups=("stage",),
            columns=names(
                "label stage n_cells recall low high change change_low change_high vanishes merges_into "
                "merged_share main_batch main_batch_share"
            ),
            folded=True,
        ),
        Item(
            dataset="batch_summary",
            caption="The verdict and its numbers.",
            file=OUTPUT + "batch_summary.json",
            folded=True,
        ),
    ),
)
