from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scvi_downstream.pipelines.proteins.decoding import denoise_proteins
from scvi_downstream.pipelines.proteins.markers import find_protein_markers
from scvi_downstream.pipelines.proteins.pipeline import template

from .conftest import KEYS, OPTIONS, Study, scores_of

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")  # as in settings.py
CONF = Path(__file__).resolve().parents[3] / "conf" / "base"


def test_it_reads_the_model_and_what_was_made_of_it() -> None:
    free = {name for name in template().inputs() if not name.startswith("params:")}
    assert free == {"fitted", "counts", "clusters", "umap", "pca.latent"}


@pytest.mark.slow
def test_the_nodes_work_on_a_saved_model(study: Study) -> None:
    before = (study.fitted, study.counts, study.pca_latent, scores_of(totalvi=0.5), KEYS, OPTIONS, 0, "cpu")
    tables = denoise_proteins(*before)
    for table in tables:
        assert table.index.equals(study.counts.obs_names.rename("cell"))
        assert list(table.columns) == list(study.counts.obsm["protein_expression"].columns)
        assert (table >= 0).all(axis=None)
    again = denoise_proteins(*before)
    pd.testing.assert_frame_equal(tables[0], again[0], check_exact=True)
    arguments = (study.fitted, study.counts, study.clusters, KEYS, OPTIONS, 0, "cpu")
    pd.testing.assert_frame_equal(
        find_protein_markers(*arguments), find_protein_markers(*arguments), check_exact=True
    )
