"""Surgery leaves the reference where it is, trains what is new, and reads no code."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.models.saved import SavedModel, model_class_of
from scvi_downstream.models.surgery import n_new_weights, query_model
from scvi_downstream.runtime.errors import InputError

pytestmark = pytest.mark.slow

N_GENES = 25
SETUPS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "defaults": ("SCVI", {"batch_key": "batch"}, {}),
    "encoded": ("SCVI", {"batch_key": "batch"}, {"encode_covariates": True, "n_layers": 2}),
    "one batch": ("SCVI", {"batch_key": "study"}, {"encode_covariates": True}),
    "covariates": (
        "SCVI",
        {
            "batch_key": "batch",
            "categorical_covariate_keys": ["phase", "study"],
            "continuous_covariate_keys": ["age"],
        },
        {"encode_covariates": True, "n_layers": 2},
    ),
    "dispersion": ("SCVI", {"batch_key": "batch"}, {"dispersion": "gene-batch", "use_layer_norm": "both"}),
    "embedding": ("SCVI", {"batch_key": "batch"}, {"batch_representation": "embedding"}),
    "library": ("SCVI", {"batch_key": "batch"}, {"use_observed_lib_size": False}),
    "drvi": ("DRVI", {"batch_key": "batch"}, {"encode_covariates": True}),
    "scanvi": (
        "SCANVI",
        {"batch_key": "batch", "labels_key": "cell_type", "unlabeled_category": "unknown"},
        {"encode_covariates": True},
    ),
}


def cells(n_cells: int, batches: str, study: str, seed: int) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "batch": [batches[i % len(batches)] for i in range(n_cells)],
            "study": study,
            "phase": np.array(["G1", "S", "G2M"])[np.arange(n_cells) % 3],
            "cell_type": np.array(["B", "T"])[np.arange(n_cells) % 2],
            "age": rng.normal(size=n_cells),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    counts = sparse.csr_matrix(rng.poisson(2, (n_cells, N_GENES)).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def save(family: str, setup: dict[str, Any], options: dict[str, Any], folder: Path, **how: Any) -> SavedModel:
    """An untrained model saved by scvi-tools: as good as a trained one for what is tested here."""
    import torch

    known = cells(60, "xy", "atlas", seed=0)
    model_class = model_class_of(family)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model_class.setup_anndata(known, **setup)
        model = model_class(known, n_latent=4, n_hidden=8, **options)
        model.is_trained_ = True
        model.save(str(folder), overwrite=True, **how)
    return SavedModel(folder, how.get("prefix", ""))


def latent(model: Any, adata: anndata.AnnData | None = None) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.is_trained_ = True
        return model.get_latent_representation(adata)


def query(setup: dict[str, Any]) -> anndata.AnnData:
    new = cells(30, "zy", "mine", seed=1)
    if "labels_key" in setup:
        new.obs["cell_type"] = "unknown"
    return new


@pytest.mark.parametrize("name", SETUPS)
def test_reference_stays_where_it_is_and_only_new_weights_train(name: str, tmp_path: Path) -> None:
    import torch

    family, setup, options = SETUPS[name]
    reference = save(family, setup, options, tmp_path)
    known = cells(60, "xy", "atlas", seed=0)
    before = latent(reference.attach(known))
    model = query_model(reference, query(setup))
    assert n_new_weights(model) > 0
    after = latent(model, known.copy())
    np.testing.assert_allclose(after, before, atol=1e-6)  # sums of more columns are rounded otherwise

    start = {key: value.clone() for key, value in model.module.state_dict().items()}
    model.module.train()
    trained = [weight for weight in model.module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    loader = model._make_data_loader(adata=model.adata, batch_size=30)
    for _ in range(3):
        for tensors in loader:
            optimizer.zero_grad()
            model.module(tensors)[2].loss.backward()
            optimizer.step()
    model.module.eval()
    np.testing.assert_array_equal(latent(model, known.copy()), after)
    changed = sum(int((value != start[key]).sum()) for key, value in model.module.state_dict().items())
    assert 0 < changed <= n_new_weights(model)


def test_a_query_without_new_categories_has_nothing_to_train(tmp_path: Path) -> None:
    reference = save(*SETUPS["encoded"], tmp_path)
    assert n_new_weights(query_model(reference, cells(30, "yx", "atlas", seed=1))) == 0


def test_new_batches_start_as_the_mean_of_the_known_ones(tmp_path: Path) -> None:
    model = query_model(save(*SETUPS["encoded"], tmp_path), cells(30, "z", "atlas", seed=1))
    weight = model.module.z_encoder.encoder.fc_layers[0][0].weight.detach().numpy()
    np.testing.assert_allclose(weight[:, -1], weight[:, -3:-1].mean(axis=1), rtol=1e-5)


def test_mapped_model_opens_in_scvi_tools_alone(tmp_path: Path) -> None:
    from scvi.model import SCVI

    reference = save(*SETUPS["covariates"], tmp_path / "reference", prefix="atlas_")
    model = query_model(reference, query({}))
    expected = latent(model)
    model.save(str(tmp_path / "mapped"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SCVI.load(str(tmp_path / "mapped"), adata=query({}), accelerator="cpu")
    np.testing.assert_allclose(latent(theirs), expected, atol=1e-6)
    np.testing.assert_allclose(latent(SavedModel(tmp_path / "mapped").attach(query({}))), expected, atol=1e-6)


def test_a_family_without_surgery_is_refused(tmp_path: Path) -> None:
    reference = save("LinearSCVI", {"batch_key": "batch"}, {}, tmp_path)
    with pytest.raises(
        InputError, match=r"LinearSCVI model.*name a reference of the family SCVI, SCANVI or DRVI"
    ):
        query_model(reference, query({}))


def test_what_the_query_lacks_is_named(tmp_path: Path) -> None:
    reference = save(*SETUPS["covariates"], tmp_path)
    new = query({})
    del new.obs["age"]
    with pytest.raises(InputError, match=r"does not fit the reference.*age"):
        query_model(reference, new)


def test_code_in_the_file_does_not_run(tmp_path: Path) -> None:
    import torch

    class Payload:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path / 'flag'}",)

    reference = save(*SETUPS["defaults"], tmp_path / "reference")
    contents = torch.load(tmp_path / "reference" / "model.pt", weights_only=False)
    contents["attr_dict"]["x_"] = Payload()
    torch.save(contents, tmp_path / "reference" / "model.pt")
    with pytest.raises(InputError, match="not opened"):
        query_model(reference, query({}))
    assert not (tmp_path / "flag").exists()
