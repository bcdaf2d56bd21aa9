"""How annotations of samples and cells were tested."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed


def describe_metadata(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How annotations of samples and cells were tested."""
    if "metadata" not in graph.analyses:
        return ""
    tests = _on_samples(study, keys) if keys.sample_key else _on_cells()
    return f"{_analysed(study, keys)} {tests}"


def _analysed(study: StudyParameters, keys: Keys) -> str:
    options = study.metadata_analysis
    if options.columns is not None:
        return f"{listed([f'`{name}`' for name in options.columns])} were analysed as annotations."
    named = [f"`{name}`" for name in (keys.condition_key, *keys.categorical_covariates) if name]
    named += [f"`{name}`" for name in keys.continuous_covariates]
    table = ["the columns of the study's metadata table"] if study.metadata else []
    subject = listed(table + list(dict.fromkeys(named)))
    verb = "was" if len(table + named) == 1 and not table else "were"
    return f"{subject[0].upper()}{subject[1:]} {verb} analysed as annotation{'s' if verb == 'were' else ''}."


def _on_samples(study: StudyParameters, keys: Keys) -> str:
    options = study.metadata_analysis
    groups = f"`{options.groups or keys.label_key or 'leiden'}`"
    blocked = (
        f" and of `{options.block_key}` as block (annotations that are constant within blocks were tested on blocks)"
        if options.block_key
        else ""
    )
    return (
        f"Annotations that are constant within samples (`{keys.sample_key}`; where a sample holds several "
        "conditions, its cells of each condition are a sample and the samples are blocks) were tested with samples "
        f"as replicates, at least {options.min_samples_per_group} a category and {options.min_cells_per_sample} cells "
        "a sample. Latent dimensions were compared by the Kruskal-Wallis test (categories) or Spearman's correlation "
        f"(numbers) of the samples' means, with p-values adjusted over the tests of one unit (cells, samples or "
        f"blocks). Composition by {groups}: the log-odds of each group's share were fitted by linear models of the "
        f"annotation{blocked}, with variances moderated by empirical Bayes [@smyth2004] as in "
        "propeller [@phipson2022], and with at most half of (groups − 1) times the residual degrees of freedom, as "
        "shares sum to one. Expression: counts were summed by sample [@squair2021], over all cells and within each of "
        f"{groups}, filtered as in edgeR [@chen2016], normalised by trimmed means of M-values [@robinson2010], and "
        "their log2 counts per million fitted by the same models, the prior variance following mean expression "
        "(limma-trend [@law2014]). Annotations that differ within samples were correlated with the log-normalised "
        "expression of the modelled genes within samples: by Spearman's correlation of ranks within samples, its "
        "p-value from the variance over permutations within samples. P-values of "
        f"composition and expression were adjusted by annotation, contrast and group "
        f"[@benjamini1995], at an FDR of {options.fdr:g}."
    )


def _on_cells() -> str:
    return (
        "As no samples were named, annotations were compared on cells, which are not independent replicates, so "
        "the p-values only rank: latent dimensions by the Kruskal-Wallis test (categories) or Spearman's "
        "correlation (numbers), log-normalised expression of the modelled genes by Spearman's correlation, with "
        "Benjamini-Hochberg correction [@benjamini1995]. Composition was tabulated and not tested."
    )
