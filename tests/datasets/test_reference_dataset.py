"""A reference is found where users keep it, and what is missing is named."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from scvi_downstream.datasets.reference_dataset import ReferenceDataset
from scvi_downstream.runtime.errors import InputError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with its counts, as scvi-tools alone saves them."""
    from scvi.model import SCVI

    folder = tmp_path_factory.mktemp("scvi_tools")
    rng = np.random.default_rng(0)
    counts = anndata.AnnData(
        rng.poisson(2, (40, 12)).astype(np.float32),
        obs=pd.DataFrame({"batch": ["x", "y"] * 20}, index=[f"c{i}" for i in range(40)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(12)]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SCVI.setup_anndata(counts, batch_key="batch")
        model = SCVI(counts, n_latent=2, n_hidden=4)
        model.save(str(folder / "atlas"), save_anndata=True)
        model.save(str(folder / "named"), save_anndata=True, prefix="first_")
    return folder


def refusal(model: str | Path | None, counts: str | Path | None = None) -> str:
    dataset = ReferenceDataset(model=str(model) if model else None, counts=str(counts) if counts else None)
    with pytest.raises(DatasetError) as raised:
        dataset.load()
    assert isinstance(raised.value.__cause__, InputError)
    return str(raised.value.__cause__)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["atlas", "atlas/model.pt", "named", "named/first_model.pt"])
def test_model_of_scvi_tools_with_the_counts_beside_it(saved: Path, named: str) -> None:
    reference = ReferenceDataset(model=str(saved / named)).load()
    assert reference.model.genes.tolist() == reference.counts.var_names.tolist()
    assert reference.counts.shape == (40, 12)
    assert reference.name == Path(named).parts[0]


@pytest.mark.slow
@pytest.mark.parametrize("named", ["06_models/plates/scvi/fitted", "06_models/plates/scvi"])
def test_model_of_this_project_with_the_counts_of_its_study(saved: Path, tmp_path: Path, named: str) -> None:
    folder = tmp_path / "06_models" / "plates" / "scvi" / "fitted"
    folder.mkdir(parents=True)
    shutil.copy(saved / "atlas" / "model.pt", folder)
    said = refusal(tmp_path / named)
    assert str(tmp_path / "03_primary" / "plates" / "counts.h5ad") in said
    assert "reference_counts=" in said
    (tmp_path / "03_primary" / "plates").mkdir(parents=True)
    shutil.copy(saved / "atlas" / "adata.h5ad", tmp_path / "03_primary" / "plates" / "counts.h5ad")
    reference = ReferenceDataset(model=str(tmp_path / named)).load()
    assert reference.name == "plates/scvi"
    assert reference.counts.n_obs == 40


@pytest.mark.slow
def test_counts_that_are_named_come_first(saved: Path, tmp_path: Path) -> None:
    anndata.read_h5ad(saved / "atlas" / "adata.h5ad")[:7].copy().write_h5ad(tmp_path / "cells.h5ad")
    dataset = ReferenceDataset(model=str(saved / "atlas"), counts=str(tmp_path / "cells.h5ad"))
    assert dataset.load().counts.n_obs == 7


@pytest.mark.slow
def test_what_is_wrong_is_said(saved: Path, tmp_path: Path) -> None:
    assert "give the folder of a saved model, --params reference=" in refusal(None)
    assert "the closest is 'atlas'" in refusal(saved / "atlass")
    assert "did you mean" in refusal(_study(saved, tmp_path))
    assert "name one of the files" in refusal(_twins(saved, tmp_path))
    assert "whose file ends in model.pt" in refusal(saved / "atlas" / "adata.h5ad")
    counts = anndata.read_h5ad(saved / "atlas" / "adata.h5ad")
    counts.uns["_scvi_adata_minify_type"] = "latent_posterior_parameters"
    counts.write_h5ad(tmp_path / "minified.h5ad")
    assert "is minified" in refusal(saved / "atlas", tmp_path / "minified.h5ad")


def _study(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "06_models" / "plates"
    (folder / "scvi" / "fitted").mkdir(parents=True)
    shutil.copy(saved / "atlas" / "model.pt", folder / "scvi" / "fitted")
    return folder


def _twins(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "twins"
    folder.mkdir()
    for prefix in ("a_", "b_"):
        shutil.copy(saved / "atlas" / "model.pt", folder / f"{prefix}model.pt")
    return folder


@pytest.mark.slow
def test_it_is_read_only_and_previewed_without_its_counts(saved: Path) -> None:
    dataset = ReferenceDataset(model=str(saved / "atlas"))
    with pytest.raises(DatasetError, match="read only"):
        dataset.save({})
    about = json.loads(dataset.preview())
    assert about["family"] == "SCVI"
    assert about["n_genes"] == 12
    assert dataset.exists()
    assert ReferenceDataset(model="").preview() is None
