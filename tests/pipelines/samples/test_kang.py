"""Real cells of eight donors with and without interferon β, from a MrVI that was fitted for a moment."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.samples.comparison import compare_samples
from scvi_downstream.pipelines.samples.expression import compare_sample_expression
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.study.defaults import defaults_of, model_options, replicates_of

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILE = DATA / "kang_ifnb.h5ad"
KEYS = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type_transferred")
RESPONSE = {
    "APOBEC3A", "CCL8", "CXCL10", "CXCL11", "EPSTI1", "IDO1", "IFI6", "IFIT1", "IFIT2", "IFIT3", "IFITM3", "ISG15",
    "ISG20", "LY6E", "MT2A", "MX1", "OAS1", "RSAD2", "TNFSF10",
}  # fmt: skip
COMMON = ["CD4 T cells", "CD14+ Monocytes", "B cells"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)"),
]


@pytest.fixture(scope="module")
def kang(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    import anndata

    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.training.nodes import train_model

    raw = anndata.read_h5ad(FILE)
    raw = raw[raw.obs["cell_type_transferred"].isin(COMMON)].copy()
    counts, _, _ = prepare_counts(raw, None, KEYS, defaults_of(PreparationOptions, n_top_genes=300))
    folder = tmp_path_factory.mktemp("kang")
    training = {"max_epochs": 12, "lr": 5e-3, "n_epochs_kl_warmup": 5, "eps": 1e-8, "gradient_clip_val": 40}
    spec = model_options(
        {"name": "mrvi", "family": "MRVI", "n_latent": 10, "n_latent_u": 5, "training": training}
    )
    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    model, _, _ = train_model(counts, spec, KEYS, 0, "cpu", store)
    dataset = ScviModelDataset(filepath=str(folder / "mrvi"))
    dataset.save(model)
    return SimpleNamespace(counts=counts, fitted=dataset.load())


def test_preparation_crosses_donors_with_conditions(kang: SimpleNamespace) -> None:
    assert kang.counts.obs["donor_x_condition"].nunique() == 16
    assert kang.fitted.setup["sample_key"] == "donor_x_condition"


def test_distances_part_stimulated_samples_in_every_common_cell_type(kang: SimpleNamespace) -> None:
    options = defaults_of(SamplesOptions, noise_draws=3, max_cells_per_group=100)
    distances, effects = compare_samples(kang.fitted, kang.counts, pd.DataFrame(), KEYS, options, 0, "cpu")
    rows = effects.set_index("group")
    for name in COMMON:
        assert rows.loc[name, "silhouette"] > 0.4
        assert rows.loc[name, "silhouette_p"] == rows.loc[name, "smallest_p"] <= 0.05
        assert rows.loc[name, "effect_p"] == rows.loc[name, "smallest_p"]
        assert rows.loc[name, "between"] > 1.5 * rows.loc[name, "within"]
    assert np.isfinite(distances["normalized_distance"]).all()


def test_interferon_genes_are_changed_most(kang: SimpleNamespace) -> None:
    table = compare_sample_expression(
        kang.fitted,
        kang.counts,
        pd.DataFrame(),
        KEYS,
        defaults_of(SamplesOptions, max_cells_per_group=100),
        0,
        "cpu",
    )
    for name in COMMON:
        first = table[(table["group"] == name) & (table["rank"] <= 10)]
        assert len(RESPONSE & set(first["gene"])) >= 8
        assert (first.loc[first["gene"] == "ISG15", "lfc"] > 1).all()
