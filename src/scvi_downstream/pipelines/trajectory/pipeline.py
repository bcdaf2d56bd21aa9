"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from collections.abc import Callable, Sequence
from typing import Any

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import joined, on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.trajectory.agreement import (
    compare_orders,
    compare_with_time,
    join_orders,
    join_trajectory,
    order_with_monocle_r,
)
from scvi_downstream.pipelines.trajectory.diffusion import connect_clusters, order_by_diffusion
from scvi_downstream.pipelines.trajectory.fates import map_fates
from scvi_downstream.pipelines.trajectory.lineages import cluster_landmarks, take_landmarks
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R
from scvi_downstream.pipelines.trajectory.plots import (
    plot_agreement,
    plot_fates,
    plot_gene_trends,
    plot_time_agreement,
    plot_trend_heatmap,
)
from scvi_downstream.pipelines.trajectory.plots_umap import plot_trajectory
from scvi_downstream.pipelines.trajectory.principal_graph import learn_graph
from scvi_downstream.pipelines.trajectory.report import summarize_trajectory
from scvi_downstream.pipelines.trajectory.slingshot import fit_slingshot
from scvi_downstream.pipelines.trajectory.stability import resample_orders
from scvi_downstream.pipelines.trajectory.start import choose_start
from scvi_downstream.pipelines.trajectory.trend_tests import fit_trends

_KEYS, _OPTIONS = "params:keys", "params:trajectory"
_RUN = [_OPTIONS, "params:seed"]
_START = ["trajectory_start", *_RUN]
_LEARNT = ["landmarks", "paga", "slingshot_curves", "graph_nodes", "graph_edges"]
_FACTS = ["diffusion_facts", "lineages", "graph_facts"]
# Datasets of the primary model that the study's own nodes take: what is known of the model, and what was learnt on it.
_OF_MODEL = ["neighbors", "clusters", "latent", "umap", "orders", *_LEARNT, *_FACTS]


def representation_template(name: str, landmarks_like: str | None = None) -> Pipeline:
    """latent, neighbors, start ─► landmarks ─► paga, diffusion, slingshot, principal graph ─► orders.

    Its nodes are in no model's namespace: they need the start, which is found on the primary model. With
    ``landmarks_like`` the landmarks are as many as those, found on its graph; otherwise clusters of the representation.
    """

    def own(*datasets: str) -> list[str]:
        return [f"{name}.{dataset}" for dataset in datasets]

    def node(function: Callable[..., Any], inputs: list[str], outputs: str | list[str]) -> Node:
        return Node(function, inputs, outputs, name=f"{function.__name__}_{name}")

    latent, neighbors, landmarks, paga, orders = own("latent", "neighbors", "landmarks", "paga", "orders")
    graph, lineages = [neighbors, landmarks], own("slingshot", "slingshot_curves", "lineages")
    tree = own("principal_graph", "graph_nodes", "graph_edges", "graph_facts")
    return Pipeline(
        [
            node(take_landmarks, [*own("clusters"), _OPTIONS], landmarks)
            if landmarks_like is None
            else node(cluster_landmarks, [neighbors, landmarks_like, "params:seed"], landmarks),
            node(connect_clusters, graph, paga),
            node(order_by_diffusion, [*graph, *_START], own("diffusion", "diffusion_facts")),
            node(fit_slingshot, [latent, *graph, paga, *_START], lineages),
            node(learn_graph, [latent, *graph, *_START], tree),
            node(join_orders, own("diffusion", "slingshot", "principal_graph"), orders),
        ],
        tags="trajectory",
    )


def template(
    representations: Sequence[str], spec: str, *, timed: bool = False, monocle_r: bool = False
) -> Pipeline:
    """start; orders of all representations ─► agreement; the primary's ─► fates, genes, stability ─► trajectory.

    ``spec`` is the parameter of the primary model; ``timed``: there is a known time; ``monocle_r``: R's monocle too.
    """
    orders = {name: f"{name}.orders" for name in representations} | ({"R": "monocle_r"} if monocle_r else {})
    agreement, on_graph = "trajectory_agreement", ["neighbors", "landmarks", "orders"]
    tested, fates = ["gene_trends", "trend_tests"], ["fates", "fate_drivers"]
    learnt = ["counts", "latent", *_LEARNT, "trajectory", "trajectory_start"]
    drawn = {name: name for name in learnt} | {"options": _OPTIONS}
    joined_by_cell = ["orders", "fates", "rank_spread", *(["monocle_r"] if monocle_r else [])]
    facts = ["counts", "trajectory", "trajectory_start", *_FACTS, "fate_facts", "trend_facts"]
    told = {name: name for name in facts} | {
        "agreement": agreement,
        "stability": "trajectory_stability",
        "primary": "params:primary",
        "spec": spec,
        "keys": _KEYS,
        "options": _OPTIONS,
        **({"time": "trajectory_time"} if timed else {}),
        **({"monocle_r_versions": "monocle_r_versions"} if monocle_r else {}),
    }
    cells = {"counts": "counts", "keys": _KEYS, "options": _OPTIONS, "seed": "params:seed"}
    with_time = [
        step(compare_with_time, cells | orders, "trajectory_time"),
        step(plot_time_agreement, ["trajectory_time", _OPTIONS], "time_agreement_figure"),
    ]
    in_r = step(order_with_monocle_r, ["counts", *_START], ["monocle_r", "monocle_r_versions"])
    return Pipeline(
        [
            step(choose_start, ["counts", "neighbors", "clusters", _KEYS, *_RUN], "trajectory_start"),
            step(map_fates, ["counts", *on_graph, *_RUN], [*fates, "fate_facts"]),
            step(fit_trends, ["counts", "orders", _KEYS, *_RUN], [*tested, "trend_contrasts", "trend_facts"]),
            step(resample_orders, ["latent", *on_graph, *_START], ["trajectory_stability", "rank_spread"]),
            step(compare_orders, orders, agreement),
            step(join_trajectory, joined_by_cell, "trajectory"),
            step(summarize_trajectory, told, "trajectory_summary"),
            step(plot_trajectory, drawn | {"umap": "umap"}, "trajectory_figure"),
            Node(plot_agreement, agreement, f"{agreement}_figure", name=f"plot_{agreement}"),
            step(plot_fates, ["umap", *fates, "counts", _OPTIONS], "fates_figure"),
            step(plot_trend_heatmap, [*tested, "counts", _OPTIONS], "trend_heatmap_figure"),
            step(plot_gene_trends, [*tested, "orders", "counts", _OPTIONS], "gene_trends_figure"),
            *(with_time if timed else []),
            *([in_r] if monocle_r else []),
        ],
        tags="trajectory",
    )


def create_pipeline(study: Study) -> Pipeline:
    """On the primary model and on the representations beside it.

    Raises
    ------
    InputError
        A representation that is not in the study.
    """
    options, primary = study.options["trajectory"], study.primary
    spec = f"params:models.{primary}"
    names = options.learnt_on(study)
    in_r = options.monocle_r and MONOCLE_R not in study.left_out
    made = template(names, spec, timed=options.time_key is not None, monocle_r=in_r)
    likes = (None if name in study.models else f"{primary}.landmarks" for name in names)
    learnt = [representation_template(*each) for each in zip(names, likes, strict=True)]
    return joined([on_model(made, primary, _OF_MODEL), *learnt])
