"""The methods section of a paper, of exactly what a run's parameters call for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scvi_downstream.graph import StudyGraph
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import Keys, StudyParameters, TrainingOptions
from scvi_downstream.pipelines.reporting.versions import named
from scvi_downstream.study import DEMO

_FAMILIES = {
    "SCVI": "scVI [@lopez2018]",
    "SCANVI": "scANVI [@xu2021]",
    "LinearSCVI": "LDVAE, scVI with a linear decoder [@svensson2020]",
}
_OPTIMIZERS = {"Adam": "Adam [@kingma2014]", "AdamW": "AdamW [@loshchilov2017]"}
_LIKELIHOODS = {"zinb": "zero-inflated negative binomial", "nb": "negative binomial", "poisson": "Poisson"}


def describe_preparation(study: StudyParameters, keys: Keys, summary: Mapping[str, Any]) -> str:
    """Where the counts come from, what was dropped, which genes the models see."""
    source = f"study '{study.study}'"
    if study.input == DEMO:
        source = "peripheral blood mononuclear cells [@zheng2017], as shipped with scanpy"
    n_genes, n_variable = summary.get("n_genes"), summary.get("n_highly_variable")
    text = [
        f"Raw counts of {_count(summary.get('n_cells'), 'cell')} and {_count(n_genes, 'gene')} ({source}) "
        f"were analysed with {named('scanpy')} [@wolf2018] and {named('anndata')} [@virshup2024]. Every "
        "value was checked to be a non-negative integer."
    ]
    filters = {name: found["threshold"] for name, found in (summary.get("filters") or {}).items()}
    if filters:
        text.append(f"Cells and genes were filtered by {_options(filters)}.")
    dropped = [
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in (summary.get("dropped") or {}).items()
        if number
    ]
    if dropped:
        text.append(f"Left out: {_listed(dropped)}.")
    if n_variable is not None and n_variable == n_genes:
        text.append(f"All {n_genes:,} genes were modelled.")
    elif n_variable is not None:
        cited = " [@stuart2019]" if "seurat" in str(summary.get("hvg_method", "")).lower() else ""
        text.append(
            "Models saw the highly variable genes: "
            f"{summary.get('hvg_method', f'{n_variable:,} genes')}{cited}."
        )
    return " ".join(text)


def describe_models(keys: Keys, graph: StudyGraph) -> str:
    """Families, hyperparameters and covariates of all models."""
    models = "; ".join(_model(spec) for spec in graph.models.values())
    text = [
        f"Models were fitted with {named('scvi-tools')} [@gayoso2022] on {named('torch', 'PyTorch')}: "
        f"{models}."
    ]
    covariates = [f"`{keys.batch_key}` as batch"] if keys.batch_key else []
    covariates += [f"`{name}` as categorical covariate" for name in keys.categorical_covariates]
    covariates += [f"`{name}` as continuous covariate" for name in keys.continuous_covariates]
    text.append(
        f"They were conditioned on {_listed(covariates)}."
        if covariates
        else "No batch or covariate was modelled."
    )
    if keys.label_key and any("labels" in spec.needs for spec in graph.models.values()):
        text.append(f"scANVI was given the labels in `{keys.label_key}`.")
    return " ".join(text)


def _model(spec: ModelSpec) -> str:
    options = spec.hyperparameters
    sizes = f"{options['n_latent']} latent dimensions"
    if spec.family != "LinearSCVI":
        sizes += f", {_count(options['n_layers'], 'hidden layer')} of {options['n_hidden']} units"
    start = f", initialised with the weights of `{spec.init_from}`" if spec.init_from else ""
    likelihood = _LIKELIHOODS.get(str(options.get("gene_likelihood")), options.get("gene_likelihood"))
    return (
        f"`{spec.name}`, {_FAMILIES.get(spec.family, spec.family)}, with {sizes}, a {likelihood} likelihood, "
        f"{options['dispersion']} dispersion and dropout {options['dropout_rate']:g}{start}"
    )


def describe_training(study: StudyParameters, graph: StudyGraph, summary: Mapping[str, Any]) -> str:
    """Optimiser, split, stopping rule, and how the primary model went."""
    options = study.training
    held_out = max(0.0, 1 - options.train_size - options.validation_size)
    epochs = options.max_epochs or summary.get("max_epochs")
    text = [
        f"Cells were split at random into {options.train_size:.0%} for training, "
        f"{options.validation_size:.0%} for validation and {held_out:.0%} for testing.",
        f"Parameters were optimised with {_OPTIMIZERS[options.optimizer]} (learning rate {options.lr:g}, "
        f"weight decay {options.weight_decay:g}) in mini-batches of "
        f"{summary.get('batch_size', options.batch_size)} cells"
        + (f" for at most {epochs} epochs" if epochs else "")
        + (
            f", with the KL term warmed up over {options.n_epochs_kl_warmup} epochs."
            if options.n_epochs_kl_warmup
            else "."
        ),
    ]
    if options.early_stopping:
        text.append(
            "Training stopped when the validation ELBO had not improved for "
            f"{options.early_stopping_patience} epochs, and the weights of the best epoch were kept."
        )
    text += [
        f"For `{spec.name}`, {_options(changed)}."
        for spec in graph.models.values()
        if (changed := _changed(spec, options))
    ]
    text.append(
        f"Analyses below rest on the model `{summary.get('model', graph.primary)}` ({_ran(summary)}); the "
        f"seed of all steps was {study.seed}."
    )
    return " ".join(text)


def _changed(spec: ModelSpec, shared: TrainingOptions) -> dict[str, Any]:
    common = shared.model_dump()
    return {name: value for name, value in spec.training.model_dump().items() if value != common[name]}


def _ran(summary: Mapping[str, Any]) -> str:
    parts = [f"{summary['epochs']} epochs"] if "epochs" in summary else []
    if "best_epoch" in summary:
        parts.append(f"the best was epoch {summary['best_epoch']}")
    if "n_parameters" in summary:
        parts.append(f"{summary['n_parameters']:,} parameters")
    if "device" in summary:
        parts.append(f"on {summary['device']}")
    return ", ".join(parts)


def describe_embedding(study: StudyParameters, n_cells: int) -> str:
    """Neighbours graph and UMAP."""
    options = study.embedding
    search = f"exhaustive search with {named('faiss-cpu', 'Faiss')} [@douze2024]"
    if n_cells > options.exact_up_to:
        search = f"nearest-neighbour descent with {named('pynndescent')} [@dong2011]"
    return (
        "Cells were embedded as the posterior mean of their latent variables. One graph of the "
        f"{options.n_neighbors} nearest neighbours by Euclidean distance ({search}) was shared by all that "
        f"follows. UMAP [@mcinnes2018] ({named('umap-learn')}; minimum distance {options.umap_min_dist:g}, "
        f"spread {options.umap_spread:g}) was computed on it in two and in three dimensions."
    )


def describe_clustering(study: StudyParameters) -> str:
    """Leiden, k-means and Ward, and how the resolution was recommended."""
    options = study.clustering
    resolutions = _listed([f"{resolution:g}" for resolution in options.leiden_resolutions])
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
        f"Differential expression was tested for {_listed(groups)} with the posterior of the model "
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
        f"Denoised expression is the mean of {_count(options.n_samples, 'posterior sample')}, scaled to "
        f"{scale}."
    ]
    if options.transform_batch:
        text.append(
            "Counterfactual expression was decoded as if every cell came from "
            f"{_listed(list(options.transform_batch))}."
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
            f"Metrics of {_listed(measured)} [@luecken2022]{special} were computed as in "
            f"{named('scib-metrics')} for every model and, to compare with, for {_listed(baselines)}."
        )
    criterion = next((name for name in study.comparison.champion.criteria if _measurable(name, keys)), None)
    if criterion and len(graph.models) > 1:
        text.append(f"The champion is the model with the best `{criterion}`.")
    return " ".join(text)


_BASELINES = {"pca": "PCA", "harmony": "Harmony [@korsunsky2019]"}


def _measurable(criterion: str, keys: Keys) -> bool:
    needed = {"scib_total": (keys.label_key, keys.batch_key), "scib_bio_conservation": (keys.label_key,)}
    return all(needed.get(criterion, ()))


def describe_software() -> str:
    """What ran it and kept the record."""
    return (
        f"All steps were run as one pipeline with {named('scvi-downstream')} on {named('kedro', 'Kedro')} "
        f"[@kedro], and tracked with {named('mlflow', 'MLflow')} [@zaharia2018]."
    )


def _count(value: Any, noun: str) -> str:
    if value is None:
        return f"the {noun}s"
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def _listed(words: list[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _options(options: Mapping[str, Any]) -> str:
    return _listed([f"`{name}` = {value}" for name, value in options.items()])


def methods_text(paragraphs: Iterable[tuple[str, str]]) -> str:
    """Titled paragraphs as Markdown; empty ones are left out."""
    return "\n\n".join(f"**{title}.** {text}" for title, text in paragraphs if text) + "\n"
