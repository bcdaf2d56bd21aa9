"""What of a model's results hangs on its seed."""

from collections.abc import Collection, Mapping, Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, joined
from scvi_downstream.pipelines.declaration import TRIAL, Study
from scvi_downstream.pipelines.stability.comparison import cluster_again, compare_seeds, summarize_stability
from scvi_downstream.pipelines.stability.genes import rank_genes_of_clusters, rank_genes_of_labels
from scvi_downstream.pipelines.stability.plots import plot_stability
from scvi_downstream.pipelines.sweep.pipeline import trial_of

_TEST = ["params:de", "params:stability", "params:seed", "params:accelerator"]
_COMPARED = ("scores", "score_draws", "latent", "seed_clusters")


def trial_template(*, labels: bool, genes: bool) -> Pipeline:
    """Neighbors ─► seed_clusters; fitted, counts ─► seed_markers: a template, copied per fit.

    Parameters
    ----------
    labels
        Groups are the labels, else ``reference_clusters``: the ``seed_clusters`` of the study's own fit.
    genes
        Whether the model can test expression.
    """
    clustered = ["neighbors", "params:stability", "params:seed"]
    nodes = [Node(cluster_again, clustered, "seed_clusters", name="cluster_again")]
    if genes:
        rank = rank_genes_of_labels if labels else rank_genes_of_clusters
        ranked = ["fitted", "counts", "params:keys" if labels else "reference_clusters", *_TEST]
        nodes.append(Node(rank, ranked, "seed_markers", name="rank_seed_genes"))
    return Pipeline(nodes, tags="stability")


def template(fits: Mapping[str, Sequence[str]], without_genes: Collection[str] = ()) -> Pipeline:
    """Fits of each model ─► seed_scores, seed_agreement, seed_genes, seed_summary ─► seeds_figure, stability_summary.

    Parameters
    ----------
    fits
        Model → names of its fits, the model itself first.
    without_genes
        Models that cannot test expression.
    """
    nodes = []
    for model, names in fits.items():
        kinds = _COMPARED if model in without_genes else (*_COMPARED, "seed_markers")
        inputs = {"spec": f"params:models.{model}", "options": "params:stability", "seed": "params:seed"}
        inputs |= {f"{name}__{kind}": f"{name}.{kind}" for name in names for kind in kinds}
        made = [f"{model}.seed_{kind}" for kind in ("scores", "agreement", "genes", "summary")]
        drawn = [made[0], made[1], made[3]]
        nodes.append(Node(compare_seeds, inputs, made, name=f"compare_seeds_of_{model}"))
        nodes.append(Node(plot_stability, drawn, f"{model}.seeds_figure", name=f"plot_stability_of_{model}"))
    summaries = {f"{model}__seed_summary": f"{model}.seed_summary" for model in fits}
    nodes.append(Node(summarize_stability, summaries, "stability_summary", name="summarize_stability"))
    return Pipeline(nodes, tags="stability")


def create_pipeline(study: Study) -> Pipeline:
    """Models fitted again with other seeds, and how much depends on these."""
    if not study.seeds:
        return Pipeline([])
    fits = {model: [model, *trials] for model, trials in study.seeds.items()}
    mute = [model for model in fits if "differential_expression" not in study.models[model].can]
    copies = []
    for model, names in fits.items():
        own = trial_template(labels=study.keys.label_key is not None, genes=model not in mute)
        for name in names:
            tags = [] if name == model else [TRIAL]
            copies.append(copied(own, name, with_tags=tags, reference_clusters=f"{model}.seed_clusters"))
    trials = [trial_of(study, name) for names in study.seeds.values() for name in names]
    return joined([*copies, *trials, template(fits, without_genes=mute)])
