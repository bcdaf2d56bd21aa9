from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.factors.plots import plot_associations, plot_loadings
from scvi_downstream.statistics.association import associate
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIONS = defaults_of(FactorOptions)


def _drawn(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _associations(n_dimensions: int, n_covariates: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    latent = pd.DataFrame(random.normal(size=(60, n_dimensions))).add_prefix("latent_")
    numbers = {f"x{i}": latent["latent_0"] + i * random.normal(size=60) for i in range(n_covariates)}
    groups = {f"g{i}": random.choice(list("ab"), 60) for i in range(3)}
    table = associate(latent, pd.DataFrame(numbers | groups))
    return table.assign(follows=table["effect"] > 0.6)


@pytest.mark.thorough
@pytest.mark.parametrize(("n_dimensions", "n_covariates"), [(2, 1), (30, 25)])
def test_heat_map_of_associations(n_dimensions: int, n_covariates: int) -> None:
    table = _associations(n_dimensions, n_covariates)
    figure = plot_associations(table, OPTIONS)
    texts = _drawn(figure)
    assert texts.count("★") == table["follows"].sum() or n_covariates > 20
    numbers, categories = figure.axes[:2]
    image = numbers.images[0].get_array()
    assert image.shape == (n_dimensions, min(n_covariates, 20))
    first = table[(table["covariate"] == "x0") & (table["dimension"] == "latent_1")]["rho"].item()
    assert image[1, 0] == pytest.approx(first)
    assert categories.images[0].get_array().shape == (n_dimensions, 3)
    assert numbers.images[0].get_clim() == (-1, 1)
    assert ("5 weaker ones not drawn" in texts) == (n_covariates > 20)
    assert "latent 1" in texts


def test_one_kind_of_covariates_and_none() -> None:
    table = _associations(3, 2)
    only = plot_associations(table[table["kind"] == "categorical"], OPTIONS)
    assert "categories" in _drawn(only)
    assert "numbers" not in _drawn(only)
    assert "No associations" in _drawn(plot_associations(table.iloc[:0], OPTIONS))[-1]


@pytest.mark.thorough
@pytest.mark.parametrize("n_factors", [1, 20])
def test_genes_at_both_ends_of_each_factor(n_factors: int) -> None:
    from anndata import AnnData

    random = np.random.default_rng(0)
    genes = pd.Index([f"ENSG{i}" for i in range(40)], name="gene")
    counts = AnnData(
        np.zeros((2, 40), dtype=np.float32),
        var=pd.DataFrame({"symbol": [f"S{i}" for i in range(40)]}, index=genes),
    )
    loadings = pd.DataFrame(random.normal(size=(40, n_factors)), index=genes)
    loadings.columns = [f"factor_{i}" for i in range(1, n_factors + 1)]
    variance = pd.DataFrame(
        {"factor": loadings.columns, "variance_share": 0.123, "unique_share": 0.045, "active": True}
    )
    variance.loc[18:, "active"] = False
    figure = plot_loadings(loadings, variance, counts, OPTIONS)
    texts = _drawn(figure)
    assert "factor 1: 12.3% (4.5% unique)" in texts
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    order = loadings["factor_1"].sort_values(ascending=False).index.str.replace("ENSG", "S")
    assert names == [*order[:10], *order[-10:]]
    if n_factors == 20:
        assert any("3 with less are not drawn; 2 dimensions are not used" in text for text in texts)


def test_a_decoder_without_latent_is_said() -> None:
    variance = pd.DataFrame({"factor": ["factor_1"], "active": [False]})
    figure = plot_loadings(pd.DataFrame({"factor_1": [0.0]}), variance, None, OPTIONS)  # type: ignore[arg-type]
    assert "uses no latent dimension" in _drawn(figure)[0]
