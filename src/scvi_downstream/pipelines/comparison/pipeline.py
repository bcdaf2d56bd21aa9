"""All models, trials and baselines of the study on one board."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.comparison.benchmarker import compare_with_benchmarker, run_benchmarker
from scvi_downstream.pipelines.comparison.correction import judge_correction
from scvi_downstream.pipelines.comparison.dimensions import recommend_dimensions
from scvi_downstream.pipelines.comparison.leaderboard import build_leaderboard
from scvi_downstream.pipelines.comparison.plots import (
    plot_correction,
    plot_dimensions,
    plot_leaderboard,
    plot_pareto,
)
from scvi_downstream.pipelines.comparison.report import choose_champion
from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study

_OPTIONS = {"options": "params:comparison"}
_MODELS = {"models": "params:models"}
_BOARD = {"leaderboard": "leaderboard"}
_CELLS = {"counts": "counts", "keys": "params:keys", "seed": "params:seed"}
_UNCORRECTED = _CELLS | {"pca_neighbors": "pca.neighbors"}


def template(
    names: Sequence[str], with_likelihood: Sequence[str], *, batches: bool = True, stock: bool = False
) -> Pipeline:
    """{name}.scores, .score_draws, .cell_likelihood ─► leaderboard ─► dimensions, correction, champion, figures.

    Parameters
    ----------
    names
        Models, trials and baselines.
    with_likelihood
        Those of them that have ``cell_likelihood``.
    batches
        Whether the cells come in batches, so that it can be asked whether these need correcting.
    stock
        Whether the embeddings are scored by scib-metrics' own Benchmarker as well.
    """
    scores = {f"{name}__scores": f"{name}.scores" for name in names}
    draws = {f"{name}__score_draws": f"{name}.score_draws" for name in names}
    likelihoods = {f"{name}__cell_likelihood": f"{name}.cell_likelihood" for name in with_likelihood}
    evidence = draws | likelihoods
    built = _OPTIONS | _MODELS | scores | evidence
    answers = {"dimensions": "dimensions"}
    nodes = [
        step(build_leaderboard, built, "leaderboard"),
        step(recommend_dimensions, _BOARD | _MODELS | _OPTIONS | likelihoods, "dimensions"),
        step(plot_dimensions, "dimensions", "dimensions_figure"),
    ]
    if batches:
        answers["correction"] = "correction"
        judged = _BOARD | _MODELS | _UNCORRECTED | evidence
        nodes += [
            step(judge_correction, judged, "correction"),
            step(plot_correction, "correction", "correction_figure"),
        ]
    if stock:
        latents = {f"{name}__latent": f"{name}.latent" for name in names}
        nodes += [
            step(run_benchmarker, _CELLS | _OPTIONS | latents, ["benchmarker", "benchmarker_figure"]),
            step(compare_with_benchmarker, ["leaderboard", "benchmarker"], "benchmarker_summary"),
        ]
    chosen = _BOARD | _OPTIONS | answers | evidence
    shown = ["leaderboard", "champion"]
    nodes += [
        step(choose_champion, chosen, "champion"),
        step(plot_leaderboard, shown, "leaderboard_figure"),
        step(plot_pareto, shown, "pareto_figure"),
    ]
    return Pipeline(nodes, tags="comparison")


def create_pipeline(study: Study) -> Pipeline:
    """Of models, trials of the sweep and baselines."""
    stock = study.options["comparison"].asks_benchmarker(study.keys)
    batches = study.keys.batch_key is not None
    return template(study.compared, study.likelihoods, batches=batches, stock=stock)
