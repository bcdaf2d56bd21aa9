"""Quality against cost: the front, the champion, baselines and names."""

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.nodes import build_leaderboard, choose_champion
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.comparison.plots import plot_pareto


def figure_of(*records, **evidence):
    scores = {f"{record['model']}__scores": record for record in records}
    board = build_leaderboard(ComparisonOptions(), None, **scores, **evidence)
    return plot_pareto(board, choose_champion(board, ComparisonOptions(), **evidence))


def legend(figure):
    return {text.get_text() for text in figure.axes[0].get_legend().get_texts()}


SCVI = {"model": "scvi", "family": "SCVI", "scib_total": 0.7, "seconds": 40.0}
SLOW = {"model": "slow", "family": "SCVI", "scib_total": 0.6, "seconds": 90.0}
SCANVI = {"model": "scanvi", "family": "SCANVI", "scib_total": 0.8, "seconds": 60.0}
PCA = {"model": "pca", "family": "PCA", "scib_total": 0.5, "seconds": 0.2}


def test_front_and_kinds_are_drawn():
    figure = figure_of(SCVI, SLOW, SCANVI, PCA)
    front = next(line for line in figure.axes[0].lines if line.get_label() == "Pareto front")
    assert front.get_xydata().tolist() == [[0.2, 0.5], [40.0, 0.7], [60.0, 0.8]]
    assert legend(figure) == {"Pareto front", "model", "baseline", "trained on the labels", "champion"}
    assert {text.get_text() for text in figure.axes[0].texts} == {"scvi", "slow", "scanvi", "pca"}


def test_lines_are_the_paired_difference_not_the_spread_of_cells():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(-500, 80, 100), rng.normal(1, 2, 100)
    index = pd.Index([f"c{i}" for i in range(100)], name="cell")
    tables = {
        "scvi": pd.DataFrame({"share": "test", "elbo": shared}, index=index),
        "slow": pd.DataFrame({"share": "test", "elbo": shared - own}, index=index),
    }
    records = [
        {"model": name, "family": "SCVI", "elbo_test": table["elbo"].mean(), "seconds": 9.0}
        for name, table in tables.items()
    ]
    figure = figure_of(*records, **{f"{name}__cell_likelihood": table for name, table in tables.items()})
    lengths = [np.ptp(path.vertices[:, 1]) for path in figure.axes[0].collections[0].get_paths()]
    assert min(lengths) == 0
    assert 0.5 < max(lengths) < 1.2


def test_names_do_not_overlap():
    rng = np.random.default_rng(0)
    records = [
        {
            "model": f"scvi_latent{i}_layers1",
            "scib_total": rng.uniform(0.6, 0.61),
            "seconds": rng.uniform(9, 11),
        }
        for i in range(30)
    ]
    figure = figure_of(*records)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 5
    inner = [box.padded(-1) for box in boxes]
    assert not any(one.overlaps(other) for i, one in enumerate(inner) for other in inner[:i])


def test_nothing_to_draw_is_said():
    figure = figure_of({"model": "scvi", "family": "SCVI", "seconds": 3.0})
    assert "no criterion" in figure.texts[0].get_text()
