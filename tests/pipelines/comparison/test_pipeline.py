"""The slice from scores to the champion, through Kedro."""

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.comparison.pipeline import template
from scvi_downstream.study.defaults import defaults_of

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")  # as in settings.py


def test_everything_is_made_from_scores_draws_and_cells():
    pipeline = template(["scvi", "pca"], ["scvi"], batches=False)
    assert pipeline.inputs() == {
        "scvi.scores",
        "scvi.score_draws",
        "scvi.cell_likelihood",
        "pca.scores",
        "pca.score_draws",
        "params:comparison",
        "params:models",
    }
    inputs = {
        "scvi.scores": {"model": "scvi", "family": "SCVI", "scib_total": 0.7, "seconds": 3.0},
        "pca.scores": {"model": "pca", "family": "PCA", "scib_total": 0.6, "seconds": 0.1},
        "scvi.cell_likelihood": pd.DataFrame(),
        "params:comparison": defaults_of(ComparisonOptions),
        "params:models": {"scvi": {"name": "scvi", "family": "SCVI", "n_latent": 10}},
    } | {f"{name}.score_draws": pd.DataFrame({"scib_total": [0.6, 0.7]}) for name in ("scvi", "pca")}
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in inputs.items()})
    made = SequentialRunner().run(pipeline, catalog)
    board, front = (made[name].load() for name in ("leaderboard_figure", "pareto_figure"))
    assert "★ scvi" in {text.get_text() for text in board.axes[0].texts}
    assert {text.get_text() for text in front.axes[0].texts} == {"scvi", "pca"}


def test_batches_are_asked_about_where_there_are_some():
    asked = template(["scvi", "pca"], ["scvi"])
    assert {"correction", "correction_figure"} <= asked.all_outputs()
    assert {"pca.neighbors", "counts", "params:keys", "params:seed"} <= asked.inputs()
    assert "correction" not in template(["scvi", "pca"], ["scvi"], batches=False).all_outputs()


def test_the_benchmarker_is_given_every_embedding_where_it_is_asked_for():
    asked = template(["scvi", "pca"], ["scvi"], stock=True)
    assert {"benchmarker", "benchmarker_figure", "benchmarker_summary"} <= asked.all_outputs()
    assert {"scvi.latent", "pca.latent"} <= asked.inputs()
