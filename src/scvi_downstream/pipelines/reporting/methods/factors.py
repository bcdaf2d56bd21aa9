"""How latent dimensions were ordered and tested against covariates."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed
from scvi_downstream.pipelines.reporting.versions import named
from scvi_downstream.study import DEMO


def describe_factors(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How latent dimensions were ordered and tested against covariates."""
    options = study.factors
    text = []
    factored = [f"`{name}`" for name, spec in graph.models.items() if "loadings" in spec.can]
    if factored:
        text.append(
            f"Latent dimensions of {listed(factored)} were read as factors: the effect of a dimension on a gene is "
            "the decoded log-expression, relative to the mean gene of the cell, less that with the dimension at its "
            "mean; loadings are the slopes of these effects per standard deviation of the dimension. Factors were "
            "ordered by the variance of their effects, and signed so that the cubes of their loadings have a "
            "positive sum. Factors with less than 0.01 % of the decoded variance were not interpreted."
        )
    text.append(
        "Each dimension was tested against batch, labels, quality metrics, cell-cycle scores and every other "
        "annotation of the cells: numbers by Spearman's rank correlation [@spearman1904] (with the R² of a "
        "linear regression), categories by the Kruskal-Wallis test [@kruskal1952] (with η², the share of variance "
        f"between categories), corrected over all tests of a model on one unit (cells or samples) "
        "[@benjamini1995]; associations with |ρ| or η² "
        f"of at least {options.min_effect:g} at a false discovery rate of {options.fdr:g} are reported."
    )
    text.append(
        f"Covariates that are constant within `{keys.sample_key}` were tested on its means{_parts(keys)}, by all "
        "permutations where there are no more than 8 of them."
        if keys.sample_key
        else "Cells were taken as independent, as no samples are known."
    )
    text.append(
        "Cell-cycle scores are those of the published data."
        if study.input == DEMO
        else "Where the data brought no cell-cycle scores and at least 10 genes of both lists were measured, they "
        f"were computed from the genes of Tirosh et al. [@tirosh2016] with {named('scanpy')} [@wolf2018]."
    )
    return " ".join(text)


def _parts(keys: Keys) -> str:
    if not keys.condition_key:
        return ""
    return (
        f" (where it holds several values of `{keys.condition_key}`, those that vary with these on the means of its "
        "cells of each)"
    )
