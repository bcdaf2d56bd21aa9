"""All models and baselines of the study on one board."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from .nodes import build_leaderboard, choose_champion, plot_leaderboard


def create_pipeline(names: Sequence[str]) -> Pipeline:
    """{name}.scores ─► leaderboard ─► champion, figure."""
    return Pipeline(
        [
            Node(
                build_leaderboard,
                [f"{name}.scores" for name in names],
                "leaderboard",
                name="build_leaderboard",
            ),
            Node(choose_champion, ["leaderboard", "params:comparison"], "champion", name="choose_champion"),
            Node(
                plot_leaderboard, ["leaderboard", "champion"], "leaderboard_figure", name="plot_leaderboard"
            ),
        ],
        tags="comparison",
    )
