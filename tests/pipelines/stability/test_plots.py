from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.stability.plots import MOST_ROWS, plot_stability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FITS = ["scvi", "scvi_seed1", "scvi_seed2"]


def _scores(metrics: list[str]) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sd = random.uniform(0.5, 2, len(metrics))
    return pd.DataFrame(
        {"metric": metrics, "mean": -400.0, "sd": sd, "sd_low": sd / 2, "sd_high": sd * 3, "cell_sd": 1.0}
    )


def _agreement(measures: dict[str, list[str]]) -> pd.DataFrame:
    random = np.random.default_rng(0)
    pairs = [*combinations(FITS, 2), *zip(FITS, FITS, strict=True)]
    rows = [
        (measure, one, other, group, "within" if one == other else "between", random.uniform(0.2, 1), 0.05)
        for measure, groups in measures.items()
        for group in groups
        for one, other in pairs
    ]
    return pd.DataFrame(rows, columns=["measure", "fit_a", "fit_b", "group", "kind", "value", "chance"])


def _texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


SUMMARY = {"model": "scvi", "fits": FITS, "sentences": ["Nothing can be said of seeds for scvi."]}


@pytest.mark.thorough
@pytest.mark.parametrize("n_groups", [1, 40])
def test_scores_pairs_genes_and_clusters_are_drawn(n_groups: int) -> None:
    groups = [f"type {i} with a name that is long" for i in range(n_groups)]
    measures = {
        "leiden_ari": [""],
        "gene_jaccard": groups,
        "cluster_jaccard": [str(i) for i in range(n_groups)],
    }
    figure = plot_stability(_scores(["elbo_test", "scib_total"]), _agreement(measures), SUMMARY)
    texts = _texts(figure)
    assert "elbo test (nats per cell)" in texts
    assert {"between seeds", "within one fit", "by chance"} <= set(texts)
    genes = next(axes for axes in figure.axes if axes.get_title() == "Genes in common")
    assert len(genes.get_yticks()) == min(n_groups, MOST_ROWS)
    assert any("not drawn" in text for text in texts) == (n_groups > MOST_ROWS)


def test_empty_groups_of_a_file_are_no_numbers() -> None:
    agreement = _agreement({"leiden_ari": [""], "cluster_jaccard": ["0"]})
    agreement.loc[agreement["group"] == "", "group"] = np.nan
    figure = plot_stability(_scores([]), agreement, SUMMARY)
    texts = _texts(figure)
    assert "The model has no test of expression." in texts
    assert "No score has a standard error over cells." in texts


def test_one_fit_has_nothing_to_draw() -> None:
    figure = plot_stability(_scores([]), _agreement({}), SUMMARY)
    assert figure.texts[0].get_text() == "Nothing can be said of seeds for scvi."
