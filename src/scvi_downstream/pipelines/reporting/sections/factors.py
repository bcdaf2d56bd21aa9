"""Latent factors in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

FACTORS = Section(
    "Latent factors",
    "What the dimensions of the latent space stand for: genes that load on them and covariates that they follow. "
    "Factors are dimensions of a model with loadings, ordered by the variance of decoded expression that they "
    "explain and signed so that their heavier tail points upwards. A loading is the change of log-expression per "
    "standard deviation of the factor, relative to the mean gene.",
    (
        Item(
            dataset="{primary}.associations_figure",
            caption="Association of every latent dimension of {primary} with every covariate.",
        ),
        Item(
            dataset="{model}.loadings_figure",
            caption="Genes that the factors of {model} raise and lower most, with the share of the decoded variance, "
            "and what of it no other factor predicts.",
        ),
        Item(
            dataset="{model}.factor_variance",
            caption="Factors of each model with loadings: their dimension, its sign, and the variance of decoded "
            "and of observed expression that they explain.",
            file=OUTPUT + "{model}/factor_variance.csv",
            folded=True,
        ),
        Item(
            dataset="{model}.associations_figure",
            caption="Association of every dimension of {model} with every covariate.",
        ),
        Item(
            dataset="factor_associations",
            caption="Associations of all models, the strongest first: Spearman's ρ and R² of numbers, "
            "Kruskal–Wallis and η² of categories.",
            file=OUTPUT + "factor_associations.csv",
            groups=("model",),
            columns=names(
                "model dimension covariate kind unit n test rho r2 eta2 effect p p_adjusted follows"
            ),
            order="effect",
            folded=True,
        ),
        Item(
            dataset="factor_summary",
            caption="What the dimensions follow, in words and numbers.",
            file=OUTPUT + "factor_summary.json",
            folded=True,
        ),
    ),
)
