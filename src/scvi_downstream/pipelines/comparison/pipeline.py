"""All models, trials and baselines of the study on one board."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from .nodes import build_leaderboard, choose_champion, plot_leaderboard, plot_pareto


def create_pipeline(names: Sequence[str], with_likelihood: Sequence[str]) -> Pipeline:
    """{name}.scores, .score_draws, .cell_likelihood ─► leaderboard ─► champion, figures.

    Parameters
    ----------
    names
        Models, trials and baselines.
    with_likelihood
        Those of them that have ``cell_likelihood``.
    """
    scores = {f"{name}__scores": f"{name}.scores" for name in names}
    evidence = {f"{name}__score_draws": f"{name}.score_draws" for name in names}
    evidence |= {f"{name}__cell_likelihood": f"{name}.cell_likelihood" for name in with_likelihood}
    return Pipeline(
        [
            Node(
                build_leaderboard,
                {"options": "params:comparison", "models": "params:models", **scores, **evidence},
                "leaderboard",
                name="build_leaderboard",
            ),
            Node(
                choose_champion,
                {"leaderboard": "leaderboard", "options": "params:comparison", **evidence},
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
