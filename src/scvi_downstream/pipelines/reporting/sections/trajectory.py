"""Trajectories in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

TRAJECTORY = Section(
    "Trajectories",
    "Cells in the order of a process: diffusion pseudotime, Slingshot's lineages through clusters and a principal "
    "graph through the cells, on the latent of the primary model and beside it on other representations. Pseudotime "
    "has no unit and no direction but the one that the start gives it; methods that disagree, and orders that halves "
    "of the cells do not share, are not to be believed.",
    (
        Item(
            dataset="trajectory_figure",
            caption="Pseudotime on the UMAP, with what each method has learned: PAGA's edges, Slingshot's curves, the "
            "principal graph; the star is the start.",
        ),
        Item(
            dataset="trajectory_3d_page",
            caption="Pseudotime and the principal graph in three dimensions.",
            file="trajectory_3d.html",
        ),
        Item(
            dataset="time_agreement_figure",
            caption="Rank correlation of every pseudotime with known time, with 95 % bootstrap intervals, over all "
            "cells and within batches.",
        ),
        Item(
            dataset="trajectory_time",
            caption="The same in numbers.",
            file=OUTPUT + "trajectory_time.csv",
            folded=True,
        ),
        Item(
            dataset="trajectory_agreement_figure",
            caption="Rank correlation between the pseudotimes of methods and representations.",
        ),
        Item(
            dataset="trajectory_stability",
            caption="Whether halves of the cells give the order of all cells.",
            file=OUTPUT + "trajectory_stability.csv",
        ),
        Item(
            dataset="fates_figure",
            caption="Probability of every cell to reach each terminal state (CellRank), and genes that go with it.",
        ),
        Item(
            dataset="fate_drivers",
            caption="Genes whose expression goes with the probability of a fate.",
            file=OUTPUT + "fate_drivers.csv",
            groups=("terminal_state",),
            folded=True,
        ),
        Item(
            dataset="trend_heatmap_figure",
            caption="Genes that change most along pseudotime, in the order of their peaks.",
        ),
        Item(
            dataset="gene_trends_figure",
            caption="Genes with the largest range along pseudotime: fitted means with 95 % intervals.",
        ),
        Item(
            dataset="trend_tests",
            caption="Every gene along every lineage: range of the fit, where it peaks, and the test against constant "
            "expression. Pseudotime was learnt from the same counts, so p-values are too small; rank by range.",
            file=OUTPUT + "trend_tests.csv",
            groups=("lineage",),
            folded=True,
        ),
        Item(
            dataset="{primary}.lineages",
            caption="Slingshot's tree and lineages, and how often resampled cells give each edge.",
            file=OUTPUT + "{model}/lineages.json",
            folded=True,
        ),
        Item(
            dataset="trajectory_summary",
            caption="Numbers of the trajectories, in words.",
            file=OUTPUT + "trajectory_summary.json",
            columns=names(""),
            folded=True,
        ),
    ),
)
