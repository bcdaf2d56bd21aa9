from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.plots import plot_mapping
from scvi_downstream.study.defaults import defaults_of

SUMMARY = {"reference": "atlas/scvi", "n_unlike": 3, "share_unlike": 0.1}


@pytest.mark.parametrize("labelled", [True, False])
def test_every_query_cell_is_drawn(labelled: bool) -> None:
    rng = np.random.default_rng(0)
    umap = pd.DataFrame(rng.normal(size=(80, 2)), columns=["UMAP1", "UMAP2"]).assign(
        origin=pd.Categorical(["reference"] * 50 + ["query"] * 30)
    )
    cells = pd.DataFrame({"mapped_unlike": np.arange(30) < 3})
    obs = pd.DataFrame(index=range(50))
    if labelled:
        obs["line"] = pd.Categorical(rng.choice(["B", "T"], 50))
        cells = cells.assign(
            mapped_cell_type=pd.Categorical(rng.choice(["B", "unknown"], 30)),
            mapped_uncertainty=rng.random(30),
        )
    reference = SimpleNamespace(
        counts=SimpleNamespace(obs=obs, uns={}), model=SimpleNamespace(setup={}), name="atlas"
    )
    options = defaults_of(ReferenceMappingOptions, label_key="line" if labelled else None)
    figure = plot_mapping(reference, umap, cells, SUMMARY, options, defaults_of(PreparationOptions))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == (4 if labelled else 2)
    flags = panels[-1]
    assert [len(points.get_offsets()) for points in flags.collections[:3]] == [50, 27, 3]
    assert "3 cells (10.0%)" in flags.get_title()
    if labelled:
        names = [text.get_text() for text in panels[1].get_legend().get_texts()]
        assert names == ["B", "T", "unknown"]
