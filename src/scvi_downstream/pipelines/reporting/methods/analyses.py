"""Clustering, expression tests, imputation and comparison in the methods text."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import ChampionRule, Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import count, listed
from scvi_downstream.pipelines.reporting.versions import named


def describe_clustering(study: StudyParameters) -> str:
    """Leiden, k-means and Ward, and how the resolution was recommended."""
    options = study.clustering
    resolutions = listed([f"{resolution:g}" for resolution in options.leiden_resolutions])
    k = f"k = {options.kmeans_k}" if options.kmeans_k else (
        f"the k up to {options.kmeans_max_k} with the highest mean silhouette [@rousseeuw1987]"
    )  # fmt: skip
    cut = (
        f"{options.hierarchical_k} clusters"
        if options.hierarchical_k
        else "as many clusters as the recommended Leiden clustering"
    )
    return (
        f"The graph was partitioned by the Leiden algorithm [@traag2019] ({named('igraph')}) at "
        f"resolution {resolutions}. The cells were divided at random into halves {options.stability_replicates} "
        "times, both halves clustered on their own and compared by the adjusted Rand index [@hubert1985], the clusters "
        "of one carried over to the other by the edges between them; the finest resolution with a mean of at least "
        f"{options.min_stability:g} was preferred. On the latent variables, k-means used {k} "
        f"({named('scikit-learn')} [@pedregosa2011]), and Ward's hierarchical clustering [@ward1963] was cut "
        f"into {cut}."
    )


def describe_expression_tests(study: StudyParameters, keys: Keys) -> str:
    """The Bayesian test and the classical ones."""
    options = study.de
    groups = ["each cluster against the rest"] if "clusters" in options.groupings else []
    if "labels" in options.groupings and keys.label_key:
        groups.append(f"each `{keys.label_key}` against the rest")
    groups += [f"{first} against {second} of `{column}`" for column, first, second in options.pairs]
    if options.conditions and keys.condition_key:
        within = "cell type" if keys.label_key else "cluster"
        groups.append(f"`{keys.condition_key}` within each {within}")
    if not groups:
        return ""
    size = (
        f"an absolute log2 fold change above {options.delta:g}"
        if options.delta
        else "a log2 fold change above a data-driven threshold"
    )
    hypothesis = size if options.mode == "change" else "a higher expression"
    sampling = "" if options.weights == "uniform" else " with importance weights"
    sampling += ", averaged over batches" if options.batch_correction else ""
    text = [
        f"Differential expression was tested for {listed(groups)} with the posterior of the model "
        f"[@boyeau2023], as the probability of {hypothesis} in {options.n_samples:,} posterior "
        f"samples{sampling}, at an expected false discovery rate [@newton2004] of {options.fdr:g}."
    ]
    if options.wilcoxon:
        text.append(
            "Beside it, log-normalised counts were compared by the Wilcoxon rank-sum test [@wilcoxon1945] "
            "with Benjamini-Hochberg correction [@benjamini1995]."
        )
    if options.pseudobulk and keys.sample_key:
        text.append(
            f"Counts summed by `{keys.sample_key}` (pseudobulk [@squair2021]; at least "
            f"{options.min_samples_per_group} samples a group) were tested with "
            f"{named('pydeseq2', 'PyDESeq2')} [@muzellec2023], an implementation of DESeq2 [@love2014]."
        )
    return " ".join(text)


def describe_imputation(study: StudyParameters) -> str:
    """Denoising, counterfactuals and the score on held-out counts."""
    options = study.imputation
    scale = (
        "each cell's own library size"
        if options.library_size == "latent"
        else f"{options.library_size:,.0f} counts a cell"
    )
    text = [
        f"Denoised expression is the mean of {count(options.n_samples, 'posterior sample')}, scaled to "
        f"{scale}."
    ]
    if options.transform_batch:
        text.append(
            "Counterfactual expression was decoded as if every cell came from "
            f"{listed(list(options.transform_batch))}."
        )
    text.append(
        "It was scored by binomial thinning [@batson2019; @neufeld2024] of cells that the model was not "
        f"trained on: {options.score.held_out_share:.0%} of their counts were held out and predicted from "
        "the rest, by the model, by the mean of each gene and by smoothing over neighbours."
    )
    return " ".join(text)


def describe_comparison(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """Held-out likelihood, integration metrics, baselines and the rule for the champion."""
    options = study.evaluation
    text = [
        "Models were compared by ELBO and reconstruction error on the test cells and by their marginal "
        "log-likelihood, estimated by importance sampling [@burda2015] with at most "
        f"{options.marginal_ll_samples} samples on at most {options.marginal_ll_max_cells:,} cells."
    ]
    measured = ["biological conservation"] if keys.label_key else []
    measured += ["batch correction"] if keys.batch_key else []
    if measured:
        baselines = [_BASELINES[name] for name in graph.baselines]
        special = (
            ", kBET [@buttner2019] and BRAS [@rautenstrauch2025] among them," if len(measured) > 1 else ""
        )
        text.append(
            f"Metrics of {listed(measured)} [@luecken2022]{special} were computed as in "
            f"{named('scib-metrics')} for every model and, to compare with, for {listed(baselines)}."
        )
    rule = study.comparison.champion
    criterion = next((name for name in rule.criteria if _measurable(name, keys)), None)
    drawn = bool(measured) and study.comparison.n_bootstrap > 0
    text.append(_describe_intervals(study.comparison.n_bootstrap if drawn else 0))
    if criterion and len(graph.models) > 1:
        text.append(_describe_rule(rule, criterion, drawn=drawn))
    return " ".join(text)


def _describe_intervals(n_bootstrap: int) -> str:
    of_cells = "intervals of means over cells are t intervals"
    if not n_bootstrap:
        return f"The 95 % {of_cells}."
    return (
        f"The 95 % intervals of integration metrics are percentiles of up to {n_bootstrap:,} bootstrap samples "
        "[@efron1979] of the cells, the same for all embeddings, which stay as they are; in each the cells are "
        f"clustered and tested by kBET anew, and the draws are centred at the score; {of_cells}."
    )


def _describe_rule(rule: ChampionRule, criterion: str, *, drawn: bool) -> str:
    has_noise = drawn or not criterion.startswith("scib_")
    if rule.noise == "none" or not has_noise or not rule.tie_breakers:
        return f"The champion is the model with the best `{criterion}`."
    margin = {
        "one_standard_error": "is at most one standard error [@breiman1984]",
        "interval": "has a 95 % interval that holds zero",
    }[rule.noise]
    economy = ", then ".join(_ECONOMY.get(name, f"lowest `{name}`") for name in rule.tie_breakers)
    paired = "bootstrap samples" if criterion.startswith("scib_") else "cells"
    return (
        f"The champion is the most economical ({economy}) of the models whose difference to the best `{criterion}`, in "
        f"pairs of the same {paired}, {margin}."
    )


_ECONOMY = {
    "n_latent": "fewest latent dimensions",
    "n_parameters": "fewest parameters",
    "seconds": "least training time",
}
_BASELINES = {"pca": "PCA", "harmony": "Harmony [@korsunsky2019]", "scanorama": "Scanorama [@hie2019]"}


def _measurable(criterion: str, keys: Keys) -> bool:
    needed = {"scib_total": (keys.label_key, keys.batch_key), "scib_bio_conservation": (keys.label_key,)}
    return all(needed.get(criterion, ()))


def describe_software() -> str:
    """What ran it and kept the record."""
    return (
        f"All steps were run as one pipeline with {named('scvi-downstream')} on {named('kedro', 'Kedro')} "
        f"[@kedro], and tracked with {named('mlflow', 'MLflow')} [@zaharia2018]."
    )
