"""How trajectories were learnt, compared and tested."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters, TrajectoryOptions
from scvi_downstream.pipelines.reporting.methods.text import listed
from scvi_downstream.pipelines.reporting.versions import named

_PSEUDOTIMES = {
    "dpt": "diffusion pseudotime",
    "slingshot": "Slingshot's pseudotime",
    "principal_graph": "the principal graph's pseudotime",
}


def describe_trajectory(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How trajectories were learnt, compared and tested."""
    if "trajectory" not in graph.analyses:
        return ""
    options = study.trajectory
    text = [
        f"Trajectories were learnt on {listed([f'`{name}`' for name in graph.representations])}, from "
        f"{_start(options)}. Clusters (`{options.clustering}`; Leiden clusters of its own graph where a representation "
        f"has none) were connected by PAGA [@wolf2019], and cells ordered by diffusion pseudotime [@haghverdi2016] on "
        f"{options.diffusion_components} diffusion components, both with {named('scanpy')} [@wolf2018].",
        "Slingshot [@street2018] was run in this project's own implementation: a minimum spanning tree of the clusters "
        "by covariance-scaled distance, and simultaneous principal curves; the frequency of each edge of the tree is "
        f"over {options.slingshot.bootstraps} bootstrap samples of the cells.",
        "A principal graph was learnt as in Monocle 3 [@cao2019] by SimplePPT [@mao2015] "
        f"({named('simpleppt')}), its nodes placed anew at half the scale and its tips extended to cells beyond "
        "them, and pseudotime measured along it.",
        f"Fates are those of CellRank [@weiler2024] ({named('cellrank')}): its pseudotime kernel combined with the "
        "graph's connectivities, terminal states by GPCCA [@reuter2019], probabilities to be absorbed in them, and "
        "driver genes by the correlation of these with log-normalised expression.",
        f"Genes along {_PSEUDOTIMES[options.trends.pseudotime]} were fitted by negative binomial regression on a "
        f"spline basis with {options.trends.n_knots} knots, as in tradeSeq [@vandenberge2020], and tested against "
        f"constant expression with Benjamini-Hochberg correction [@benjamini1995] at an FDR of {options.trends.fdr:g}; "
        "these p-values do not account for pseudotime having been learnt from the same counts.",
        "Methods and representations were compared by Spearman's rank correlation [@spearman1904], and each with the "
        f"orders of {options.stability_replicates} random divisions of the cells into halves.",
    ]
    if options.monocle_r:
        text.append("Beside these, cells were ordered by DDRTree of Monocle 2 [@qiu2017] in R.")
    if options.time_key:
        text.append(f"`{options.time_key}` is the known time, with 95 % bootstrap intervals{_batches(keys)}.")
    return " ".join(text)


def _batches(keys: Keys) -> str:
    return f"; correlations were also computed within `{keys.batch_key}`" if keys.batch_key else ""


def _start(options: TrajectoryOptions) -> str:
    if options.start_cell:
        return f"the cell `{options.start_cell}`"
    if options.start_cluster:
        return f"the cells of `{options.start_cluster}`"
    if options.start_gene:
        return f"the cells with the highest expression of `{options.start_gene}`"
    return f"the earliest cells by `{options.time_key}`"
