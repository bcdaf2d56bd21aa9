"""How fits with other seeds were compared."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed
from scvi_downstream.pipelines.reporting.versions import named


def describe_stability(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How fits with other seeds were compared; empty where no model was fitted again."""
    options = study.stability
    models = [name for name in options.models if name in graph.models]
    if not models:
        return ""
    text = [
        f"{listed([f'`{name}`' for name in models])} {'was' if len(models) == 1 else 'were'} fitted with "
        f"{options.n_seeds} seeds to the same split of the cells; the seed decides the initial weights, mini-batches, "
        "dropout and draws.",
        f"Leiden clusters [@traag2019] at resolution {options.resolution:g} of every pair of fits were compared by the "
        "adjusted Rand index [@hubert1985], beside that of "
        f"{options.leiden_runs} repetitions of Leiden on one graph; clusters of the first fit by their mean Jaccard "
        "index with the most similar cluster of the other fits [@hennig2007]; latents by the share of the "
        f"{options.n_neighbors} nearest neighbours in common (of at most 2,000 cells) and linear centred kernel "
        "alignment [@kornblith2019].",
    ]
    if any("differential_expression" in graph.models[name].can for name in models):
        groups = f"`{keys.label_key}`" if keys.label_key else "the first fit's clusters"
        text.append(
            f"Genes of each group of {groups} against the rest were ranked by the median log fold change times the "
            f"posterior probability of a change [@boyeau2023] in {named('scvi-tools')} [@gayoso2022], among genes with "
            f"a count in {options.min_fraction:.0%} of the group; lists of the first {options.top_genes} were compared "
            "by the Jaccard index and by rank-biased overlap (p = 0.9) [@webber2010], beside two sets of posterior "
            "draws of one fit."
        )
    text.append(
        "Intervals of means over pairs of fits are 95 % t intervals from the jackknife over fits [@arvesen1969]. Two "
        "models fitted once each are told apart beyond the seed where they differ by t × √2 standard deviations over "
        "seeds."
    )
    return " ".join(text)
