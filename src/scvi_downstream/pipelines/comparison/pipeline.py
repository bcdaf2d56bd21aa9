"""All models, trials and baselines of the study on one board."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.comparison.correction import judge_correction
from scvi_downstream.pipelines.comparison.dimensions import recommend_dimensions
from scvi_downstream.pipelines.comparison.nodes import build_leaderboard, choose_champion
from scvi_downstream.pipelines.comparison.plots import plot_leaderboard, plot_pareto
from scvi_downstream.pipelines.comparison.plots_answers import plot_correction, plot_dimensions
from scvi_downstream.pipelines.declaration import Study


def template(names: Sequence[str], with_likelihood: Sequence[str], *, batches: bool = True) -> Pipeline:
    """{name}.scores, .score_draws, .cell_likelihood ─► leaderboard ─► dimensions, correction, champion, figures.

    Parameters
    ----------
    names
        Models, trials and baselines.
    with_likelihood
        Those of them that have ``cell_likelihood``.
    batches
        Whether the cells come in batches, so that it can be asked whether these need correcting.
    """
    scores = {f"{name}__scores": f"{name}.scores" for name in names}
    draws = {f"{name}__score_draws": f"{name}.score_draws" for name in names}
    likelihoods = {f"{name}__cell_likelihood": f"{name}.cell_likelihood" for name in with_likelihood}
    evidence = draws | likelihoods
    of_board = {"leaderboard": "leaderboard", "models": "params:models"}
    answers = {"dimensions": "dimensions"} | ({"correction": "correction"} if batches else {})
    asked = [
        Node(
            recommend_dimensions,
            {**of_board, "options": "params:comparison", **likelihoods},
            "dimensions",
            name="recommend_dimensions",
        ),
        Node(plot_dimensions, "dimensions", "dimensions_figure", name="plot_dimensions"),
    ]
    if batches:
        of_cells = {"pca_neighbors": "pca.neighbors", "counts": "counts", "keys": "params:keys"}
        asked += [
            Node(
                judge_correction,
                {**of_board, **of_cells, "seed": "params:seed", **evidence},
                "correction",
                name="judge_correction",
            ),
            Node(plot_correction, "correction", "correction_figure", name="plot_correction"),
        ]
    return Pipeline(
        [
            *asked,
            Node(
                build_leaderboard,
                {"options": "params:comparison", "models": "params:models", **scores, **evidence},
                "leaderboard",
                name="build_leaderboard",
            ),
            Node(
                choose_champion,
                {"leaderboard": "leaderboard", "options": "params:comparison", **answers, **evidence},
                "champion",
                name="choose_champion",
            ),
            Node(
                plot_leaderboard, ["leaderboard", "champion"], "leaderboard_figure", name="plot_leaderboard"
            ),
            Node(plot_pareto, ["leaderboard", "champion"], "pareto_figure", name="plot_pareto"),
        ],
        tags="comparison",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Of models, trials of the sweep and baselines."""
    return template(study.compared, study.likelihoods, batches=study.keys.batch_key is not None)
