"""Posterior predictive checks in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

PREDICTIVE_CHECKS = Section(
    "Predictive checks",
    "Does the primary model generate counts like those observed? Counts of held-out cells are generated again from the "
    "latent state that the model infers of each cell (the model), from states of other cells of the same batch and "
    "library size (the model without the cell's state), and by a negative binomial and a Poisson without any state. "
    "The last three know the same of a cell and compare on equal terms; the model has seen the very counts, so that it "
    "can only look too good. A PIT histogram is flat where predictive intervals are right, a bowl where they are too "
    "narrow, a hill where they are too wide. A generated overdispersion far above both the observed one and that of "
    "the negative binomial can mean gene dispersions that have not settled: they start at random, and few cells or "
    "epochs leave them there.",
    (
        Item(
            dataset="predictive_moments_figure",
            caption="Variation of genes, zeros and library sizes of held-out cells, observed and generated.",
        ),
        Item(
            dataset="predictive_calibration_figure",
            caption="Calibration of predictive intervals by the mean count of genes, and the score against a negative "
            "binomial without latent states.",
        ),
        Item(
            dataset="predictive_correlation_figure",
            caption="Gene–gene correlations of held-out cells, observed and generated.",
        ),
        Item(
            dataset="predictive_checks",
            caption="All checks: observed, expected, the 95 % interval of one of them, posterior predictive p.",
            file=OUTPUT + "predictive_checks.csv",
            groups=("source", "cells"),
            columns=names(
                "check genes source cells n_cells observed expected discrepancy interval lower upper inside p"
            ),
            folded=True,
        ),
        Item(
            dataset="predictive_genes",
            caption="Genes as observed and as generated.",
            file=OUTPUT + "predictive_genes.parquet",
            groups=("source", "cells"),
            columns=names(
                "symbol source cells mean_observed mean_predicted variance_observed variance_predicted zeros_observed "
                "zeros_predicted zeros_lower zeros_upper coverage_95 p p_adjusted outlier differs_in"
            ),
            order="outlier",
            folded=True,
        ),
        Item(
            dataset="predictive_summary",
            caption="What the checks say, in words and numbers.",
            file=OUTPUT + "predictive_summary.json",
            folded=True,
        ),
    ),
)
