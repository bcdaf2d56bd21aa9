from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.predictive_checks.plots import (
    plot_predictive_calibration,
    plot_predictive_correlation,
    plot_predictive_moments,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCES = ("model", "population", "nb", "poisson")
STATISTICS = ("zero_fraction", "zero_fraction_sd", "library_size", "overdispersion", "correlation_strength")


def drawn(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.fixture
def checks() -> pd.DataFrame:
    rows = [
        {"check": check, "genes": genes, "source": source, "cells": cells, "n_cells": 30, "observed": 0.9,
         "expected": 0.95, "lower": 0.85, "upper": 0.97}
        for source, cells in [*((name, "held-out") for name in SOURCES), ("model", "training")]
        for check in (*STATISTICS, "coverage_95", "crps_gain", "correlation_agreement")
        for genes in (("all", "below 0.1") if check in ("coverage_95", "crps_gain") else ("all",))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.thorough
@pytest.mark.parametrize("n_genes", [5, 200])
def test_moments(checks: pd.DataFrame, n_genes: int) -> None:
    rng = np.random.default_rng(0)
    genes, cells = [], []
    for source in SOURCES:
        mean = rng.lognormal(0, 1, n_genes)
        zeros = np.exp(-mean)
        outlier = np.arange(n_genes) < 2
        genes.append(
            pd.DataFrame(
                {
                    "symbol": [f"G{i}" for i in range(n_genes)], "source": source, "cells": "held-out",
                    "mean_observed": mean, "mean_predicted": mean, "variance_observed": mean + mean**2,
                    "variance_predicted": mean, "zeros_observed": zeros, "zeros_predicted": zeros * 0.9,
                    "outlier": outlier, "differs_in": np.where(outlier, "zeros", ""), "p": 0.01,
                }
            )
        )  # fmt: skip
        values = {
            f"{name}_{kind}": rng.uniform(0.4, 0.6, 30) * scale
            for name, scale in (("counts", 1000), ("zero_fraction", 1))
            for kind in ("observed", "predicted", "lower", "upper")
        }
        cells.append(pd.DataFrame({"source": source, "cells": "held-out", **values}))
    texts = drawn(plot_predictive_moments(pd.concat(genes), pd.concat(cells), checks))
    assert "Counts of 30 held-out cells, observed and generated" in texts
    assert "Zeros of genes, negative binomial" in texts
    assert f"like the observed ({n_genes - 2})" in texts
    assert "overdispersion" in texts


def test_calibration(checks: pd.DataFrame) -> None:
    edges = np.arange(40) / 40
    table = pd.concat(
        [
            pd.DataFrame(
                {"source": source, "cells": "held-out", "genes": "below 0.1", "low": edges, "high": edges + 1 / 40,
                 "share": 1 / 40}
            )
            for source in SOURCES
        ]
    )  # fmt: skip
    figure = plot_predictive_calibration(table, checks)
    texts = drawn(figure)
    assert "Genes of mean count below 0.1" in texts
    assert "model, training cells" in texts
    heights = [patch.get_data().values for patch in figure.axes[0].patches]
    np.testing.assert_allclose(heights, 1)


@pytest.mark.thorough
def test_correlations_keep_their_pairs(checks: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    matrix = np.corrcoef(rng.normal(size=(6, 20)))
    first, second = np.triu_indices(6, 1)
    pairs = pd.DataFrame({"gene_a": first, "gene_b": second, "observed": matrix[first, second]})
    for source in SOURCES:
        pairs[source] = pairs["observed"] / 2
    figure = plot_predictive_correlation(pairs, checks)
    assert "6 most variable genes" in drawn(figure)
    observed, model = (figure.axes[position].images[0].get_array() for position in (0, 1))
    np.testing.assert_allclose(np.sort(observed.ravel()), np.sort(matrix.ravel()))
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(model[off], observed[off] / 2)
    few = plot_predictive_correlation(pairs.iloc[:1], checks)
    assert "no correlations" in drawn(few)[0]
