"""What of a model's results hangs on its seed."""

from collections.abc import Collection, Mapping, Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, joined
from scvi_downstream.pipelines.declaration import TRIAL, Study
from scvi_downstream.pipelines.stability.nodes import (
    cluster_again,
    compare_seeds,
    rank_genes_of_clusters,
    rank_genes_of_labels,
    summarize_stability,
)
from scvi_downstream.pipelines.stability.plots import plot_stability
from scvi_downstream.pipelines.sweep.pipeline import trial_of

_OF_FIT = ("scores", "score_draws", "latent", "seed_clusters")


def trial_template(*, labels: bool, genes: bool) -> Pipeline:
    """Neighbors ─► seed_clusters; fitted, counts ─► seed_markers: a template, copied per fit.

    Parameters
    ----------
    labels
        Groups are the labels, else ``reference_clusters``: the ``seed_clusters`` of the study's own fit.
    genes
        Whether the model can test expression.
    """
    of_labels = Node(
        rank_genes_of_labels,
        [
            "fitted",
            "counts",
            "params:keys",
            "params:de",
            "params:stability",
            "params:seed",
            "params:accelerator",
        ],
        "seed_markers",
        name="rank_seed_genes",
    )
    of_clusters = Node(
        rank_genes_of_clusters,
        [
            "fitted",
            "counts",
            "reference_clusters",
            "params:de",
            "params:stability",
            "params:seed",
            "params:accelerator",
        ],
        "seed_markers",
        name="rank_seed_genes",
    )
    ranked = [of_labels if labels else of_clusters] if genes else []
    clustered = Node(
        cluster_again,
        ["neighbors", "params:stability", "params:seed"],
        "seed_clusters",
        name="cluster_again",
    )
    return Pipeline([clustered, *ranked], tags="stability")


def template(fits: Mapping[str, Sequence[str]], without_genes: Collection[str] = ()) -> Pipeline:
    """Fits of each model ─► seed_scores, seed_agreement, seed_genes, seed_summary ─► seed_figure, stability_summary.

    Parameters
    ----------
    fits
        Model → names of its fits, the model itself first.
    without_genes
        Models that cannot test expression.
    """
    compared = [
        node for model, names in fits.items() for node in _of_model(model, names, model not in without_genes)
    ]
    summaries = {f"{model}__seed_summary": f"{model}.seed_summary" for model in fits}
    joined = Node(summarize_stability, summaries, "stability_summary", name="summarize_stability")
    return Pipeline([*compared, joined], tags="stability")


def _of_model(model: str, names: Sequence[str], genes: bool) -> list[Node]:  # noqa: FBT001 - one call
    kinds = (*_OF_FIT, "seed_markers") if genes else _OF_FIT
    tables = {f"{name}__{kind}": f"{name}.{kind}" for name in names for kind in kinds}
    given = {"spec": f"params:models.{model}", "options": "params:stability", "seed": "params:seed"}
    made = [f"{model}.{kind}" for kind in ("seed_scores", "seed_agreement", "seed_genes", "seed_summary")]
    drawn = [f"{model}.{kind}" for kind in ("seed_scores", "seed_agreement", "seed_summary")]
    return [
        Node(compare_seeds, given | tables, made, name=f"compare_seeds_of_{model}"),
        Node(plot_stability, drawn, f"{model}.seed_figure", name=f"plot_stability_of_{model}"),
    ]


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
