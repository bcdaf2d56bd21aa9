import numpy as np
import pandas as pd

from scvi_downstream.pipelines.annotation.plots import plot_cluster_names


def test_every_cluster_and_type_is_shown_and_names_are_framed() -> None:
    rng = np.random.default_rng(0)
    clusters, types = ["10", "2", "0"], ["B", "T", "NK"]
    scores = pd.DataFrame(
        {"cluster": np.repeat([10, 2, 0], 3), "type": types * 3, "z": rng.normal(size=9), "fdr": 0.1}
    )
    names = pd.DataFrame(
        {"cluster": clusters, "name": ["T", "unknown", "B"], "best_type": ["T", "NK", "B"], "n_cells": 5}
    )
    figure = plot_cluster_names(scores, names, {"n_named": 2, "n_clusters": 3})
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == clusters
    assert [tick.get_text() for tick in axes.get_xticklabels()] == types
    assert sorted((patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in axes.patches) == [(0, 2), (1, 0)]
    z = axes.images[0].get_array()
    assert z[1, 2] == scores["z"].iloc[5]
    assert "2 of 3 clusters named" in axes.get_title()
