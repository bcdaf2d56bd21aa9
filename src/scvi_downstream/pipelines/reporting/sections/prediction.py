"""Expression predicted under other conditions, in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

PREDICTION = Section(
    "Prediction under other conditions",
    "What cells of one condition would express in another, predicted by models that have not seen the cells it is "
    "compared with. A prediction is worth having when it beats the mean shift of the training cells, not only no "
    "change. The change says more than the expression: expression correlates highly with any other, as most genes "
    "never change. Another half of the measured cells shows how far noise lets any measurement agree; a smooth "
    "prediction can do better than that.",
    (
        Item(
            dataset="prediction_scores_figure",
            caption="Agreement of each method with the held-out cells, for every cell type and their mean.",
        ),
        Item(
            dataset="prediction_changes_figure",
            caption="Predicted against measured change of every gene, by the best model and by the mean shift.",
        ),
        Item(
            dataset="prediction_genes_figure",
            caption="Genes that respond most: measured in the source and in the target, and predicted.",
        ),
        Item(
            dataset="prediction_groups",
            caption="Cell types compared: held-out cells, genes that respond, and whether the change is larger than "
            "with conditions given at random.",
            file=OUTPUT + "prediction_groups.csv",
        ),
        Item(
            dataset="prediction_differences",
            caption="How much better each model is than each baseline (positive: better).",
            file=OUTPUT + "prediction_differences.csv",
            groups=("target", "method"),
            folded=True,
        ),
        Item(
            dataset="prediction_scores",
            caption="All scores with 95 % intervals.",
            file=OUTPUT + "prediction_scores.csv",
            groups=("target", "group"),
            folded=True,
        ),
        Item(
            dataset="predicted_expression",
            caption="Measured and predicted log expression of every gene, the largest measured change first.",
            file=OUTPUT + "predicted_expression.parquet",
            groups=("target", "group"),
            columns=names(
                "target group symbol source measured measured_lower measured_upper change p_adjusted responds "
                "scvi scvi_lower scvi_upper mrvi mrvi_lower mrvi_upper mean_shift pooled_shift target_mean"
            ),
            order="change",
            folded=True,
        ),
        Item(
            dataset="prediction_by_gene",
            caption="How far predictions follow each gene across samples and cell types.",
            file=OUTPUT + "prediction_by_gene.parquet",
            groups=("target",),
            order="mean_change",
            folded=True,
        ),
        Item(
            dataset="prediction_summary",
            caption="Verdict and numbers.",
            file=OUTPUT + "prediction_summary.json",
            folded=True,
        ),
    ),
)
