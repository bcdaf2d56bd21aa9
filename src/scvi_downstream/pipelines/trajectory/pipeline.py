"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import joined, on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.trajectory.agreement import compare_orders, compare_with_time
from scvi_downstream.pipelines.trajectory.nodes import (
    choose_start,
    fit_trends,
    join_orders,
    join_trajectory,
    map_fates,
    order_with_monocle_r,
    resample_orders,
    summarize_trajectory,
)
from scvi_downstream.pipelines.trajectory.options import representations
from scvi_downstream.pipelines.trajectory.orders import (
    cluster_landmarks,
    connect_clusters,
    fit_slingshot,
    learn_graph,
    order_by_diffusion,
    take_landmarks,
)
from scvi_downstream.pipelines.trajectory.plots_3d import (
    plot_agreement,
    plot_fates,
    plot_gene_trends,
    plot_time_agreement,
    plot_trajectory,
    plot_trajectory_3d,
    plot_trend_heatmap,
)

# Datasets of the primary model that the study's own nodes take: what is known of the model, and what was learnt on it.
_OF_MODEL = (
    "neighbors",
    "clusters",
    "latent",
    "umap",
    "umap_3d",
    "landmarks",
    "paga",
    "orders",
    "diffusion_facts",
    "lineages",
    "slingshot_curves",
    "graph_nodes",
    "graph_edges",
    "graph_facts",
)


def representation_template(name: str, *, landmarks_like: str | None = None) -> Pipeline:
    """latent, neighbors, start ─► landmarks ─► paga, diffusion, slingshot, principal graph ─► orders.

    Its nodes are in no model's namespace: they need the start, which is found on the primary model. With
    ``landmarks_like`` the landmarks are as many as those, found on its graph; otherwise clusters of the representation.
    """

    def of(*datasets: str) -> list[str]:
        return [f"{name}.{dataset}" for dataset in datasets]

    start = ["trajectory_start", "params:trajectory", "params:seed"]
    (landmarks,) = of("landmarks")
    found = (
        Node(take_landmarks, [*of("clusters"), "params:trajectory"], landmarks, name=f"take_landmarks_{name}")
        if landmarks_like is None
        else Node(
            cluster_landmarks,
            [*of("neighbors"), landmarks_like, "params:seed"],
            landmarks,
            name=f"cluster_landmarks_{name}",
        )
    )
    return Pipeline(
        [
            found,
            Node(
                connect_clusters, of("neighbors", "landmarks"), *of("paga"), name=f"connect_clusters_{name}"
            ),
            Node(
                order_by_diffusion,
                [*of("neighbors", "landmarks"), *start],
                of("diffusion", "diffusion_facts"),
                name=f"order_by_diffusion_{name}",
            ),
            Node(
                fit_slingshot,
                [*of("latent", "neighbors", "landmarks", "paga"), *start],
                of("slingshot", "slingshot_curves", "lineages"),
                name=f"fit_slingshot_{name}",
            ),
            Node(
                learn_graph,
                [*of("latent", "neighbors", "landmarks"), *start],
                of("principal_graph", "graph_nodes", "graph_edges", "graph_facts"),
                name=f"learn_graph_{name}",
            ),
            Node(
                join_orders,
                of("diffusion", "slingshot", "principal_graph"),
                *of("orders"),
                name=f"join_orders_{name}",
            ),
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
    shown = ["latent", "landmarks", "paga", "slingshot_curves", "graph_nodes", "graph_edges", "trajectory"]
    nodes = [
        Node(
            choose_start,
            ["counts", "neighbors", "clusters", "params:keys", "params:trajectory", "params:seed"],
            "trajectory_start",
            name="choose_start",
        ),
        Node(
            map_fates,
            ["counts", "neighbors", "landmarks", "orders", "params:trajectory", "params:seed"],
            ["fates", "fate_drivers", "fate_facts"],
            name="map_fates",
        ),
        Node(
            fit_trends,
            ["counts", "orders", "params:keys", "params:trajectory", "params:seed"],
            ["gene_trends", "trend_tests", "trend_contrasts", "trend_facts"],
            name="fit_trends",
        ),
        Node(
            resample_orders,
            [
                "latent",
                "neighbors",
                "landmarks",
                "orders",
                "trajectory_start",
                "params:trajectory",
                "params:seed",
            ],
            ["trajectory_stability", "rank_spread"],
            name="resample_orders",
        ),
        Node(compare_orders, orders, "trajectory_agreement", name="compare_orders"),
        Node(
            join_trajectory,
            {"orders": "orders", "fates": "fates", "rank_spread": "rank_spread"}
            | ({"monocle_r": "monocle_r"} if monocle_r else {}),
            "trajectory",
            name="join_trajectory",
        ),
        Node(
            summarize_trajectory,
            {
                "counts": "counts",
                "trajectory": "trajectory",
                "trajectory_start": "trajectory_start",
                "diffusion_facts": "diffusion_facts",
                "lineages": "lineages",
                "graph_facts": "graph_facts",
                "fate_facts": "fate_facts",
                "trend_facts": "trend_facts",
                "trajectory_agreement": "trajectory_agreement",
                "trajectory_stability": "trajectory_stability",
                "primary": "params:primary",
                "spec": spec,
                "keys": "params:keys",
                "options": "params:trajectory",
            }
            | ({"trajectory_time": "trajectory_time"} if timed else {}),
            "trajectory_summary",
            name="summarize_trajectory",
        ),
        Node(
            plot_trajectory,
            ["counts", "umap", *shown, "trajectory_start", "params:trajectory"],
            "trajectory_figure",
            name="plot_trajectory",
        ),
        Node(
            plot_trajectory_3d,
            ["counts", "umap_3d", *shown, "trajectory_start", "params:trajectory"],
            "trajectory_3d_page",
            name="plot_trajectory_3d",
        ),
        Node(
            plot_agreement,
            "trajectory_agreement",
            "trajectory_agreement_figure",
            name="plot_trajectory_agreement",
        ),
        Node(
            plot_fates,
            ["umap", "fates", "fate_drivers", "counts", "params:trajectory"],
            "fates_figure",
            name="plot_fates",
        ),
        Node(
            plot_trend_heatmap,
            ["gene_trends", "trend_tests", "counts", "params:trajectory"],
            "trend_heatmap_figure",
            name="plot_trend_heatmap",
        ),
        Node(
            plot_gene_trends,
            ["gene_trends", "trend_tests", "orders", "counts", "params:trajectory"],
            "gene_trends_figure",
            name="plot_gene_trends",
        ),
    ]
    return Pipeline(
        [*nodes, *(_with_time(orders) if timed else []), *(_in_r() if monocle_r else [])], tags="trajectory"
    )


def _with_time(orders: dict[str, str]) -> list[Node]:
    return [
        Node(
            compare_with_time,
            {"counts": "counts", "keys": "params:keys", "options": "params:trajectory", "seed": "params:seed"}
            | orders,
            "trajectory_time",
            name="compare_with_time",
        ),
        Node(
            plot_time_agreement,
            ["trajectory_time", "params:trajectory"],
            "time_agreement_figure",
            name="plot_time_agreement",
        ),
    ]


def _in_r() -> list[Node]:
    return [
        Node(
            order_with_monocle_r,
            ["counts", "trajectory_start", "params:trajectory", "params:seed"],
            "monocle_r",
            name="order_with_monocle_r",
        )
    ]


def create_pipeline(study: Study) -> Pipeline:
    """On the primary model and on the representations beside it.

    Raises
    ------
    InputError
        A representation that is not in the study.
    """
    options = study.options["trajectory"]
    names = representations(study)
    spec = f"params:models.{study.primary}"
    made = template(names, spec, timed=options.time_key is not None, monocle_r=options.monocle_r)
    return joined([on_model(made, study.primary, _OF_MODEL), *(_learnt_on(study, name) for name in names)])


def _learnt_on(study: Study, name: str) -> Pipeline:
    like = None if name in study.models else f"{study.primary}.landmarks"
    return representation_template(name, landmarks_like=like)
