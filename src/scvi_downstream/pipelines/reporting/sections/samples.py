"""Samples compared by MrVI in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

SAMPLES = Section(
    "Samples",
    "What samples and conditions change, as MrVI sees it. Every cell has a state u apart from its sample and a state z "
    "in its sample; the distance of two samples is that of the states z which the same cell would have in them. "
    "Tests permute conditions over samples, within pairs where samples pair up: they are about samples, not cells.",
    (
        Item(
            dataset="sample_distances_figure",
            caption="Mean distance of samples over the cells of each group, samples in the order of their tree; lines "
            "part its clusters, the strip above shows the condition.",
        ),
        Item(
            dataset="sample_map_figure",
            caption="Samples of each group as points (multidimensional scaling of the distances); lines join the "
            "samples of a pair. p: permutations of conditions over samples.",
        ),
        Item(
            dataset="sample_effects",
            caption="What each condition does in each group: distances within and between conditions, silhouette, how "
            "far it moves a cell (units of z), in how many cells, and whether permuted conditions do as much.",
            file=OUTPUT + "sample_effects.csv",
            columns=names(
                "group condition reference n_cells n_samples n_pairs within between above_noise silhouette "
                "silhouette_p silhouette_p_adjusted effect effect_p_adjusted share_of_cells smallest_p reason"
            ),
        ),
        Item(
            dataset="sample_expression_figure",
            caption="Genes that conditions change most: log2 fold change of the decoded expression (colour), share of "
            "cells (size), and whether counts summed by sample say the same (ring).",
        ),
        Item(
            dataset="sample_expression",
            caption="Genes that conditions change, by group. Fold changes are those of the model, p-values those of "
            "counts summed by sample.",
            file=OUTPUT + "sample_expression.parquet",
            groups=("group", "condition"),
            columns=names(
                "group condition reference symbol mean_condition mean_reference lfc lfc_sd share_of_cells "
                "pseudobulk_lfc pseudobulk_p pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
        Item(
            dataset="sample_abundance_figure",
            caption="Where cells of a condition are denser in u, and the mean probability of the condition by group.",
        ),
        Item(
            dataset="sample_abundance",
            caption="Abundance by group; own_condition is how well u tells the condition of a cell (0.5: not at all), "
            "which leaves nothing to z where it is near 1.",
            file=OUTPUT + "sample_abundance.csv",
            folded=True,
        ),
        Item(
            dataset="sample_counterfactuals",
            caption="Mean expression of the cells of each group as if all were of one sample, beside what was measured "
            "in the sample's own cells (counts per 10,000 of the modelled genes).",
            file=OUTPUT + "sample_counterfactuals.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_clusters",
            caption="Clusters of samples in each group.",
            file=OUTPUT + "sample_clusters.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_distances",
            caption="Distances of all pairs of samples; the normalised ones are in standard deviations of the noise.",
            file=OUTPUT + "sample_distances.csv",
            groups=("group",),
            folded=True,
        ),
        Item(
            dataset="sample_summary",
            caption="The verdicts in words and numbers.",
            file=OUTPUT + "sample_summary.json",
            folded=True,
        ),
    ),
)
