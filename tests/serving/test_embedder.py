from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.serving.embedder import Embedder
from scvi_downstream.study.defaults import model_options

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = pytest.mark.slow
CELLS = slice(5, 12)


@pytest.fixture(scope="module")
def cells_with_covariates(pbmc_counts: AnnData) -> AnnData:
    cells = pbmc_counts.copy()
    rng = np.random.default_rng(0)
    cells.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2"], cells.n_obs))
    cells.obs["age"] = rng.normal(size=cells.n_obs)
    names = [f"P{i}" for i in range(6)]
    cells.obsm["protein_expression"] = pd.DataFrame(
        rng.poisson(5, (cells.n_obs, 6)), index=cells.obs_names, columns=names
    )
    return cells


@pytest.fixture(scope="module")
def fitted(
    cells_with_covariates: AnnData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., SavedModel]:
    """Fit a family for an epoch and save it."""

    def fit(family: str, keys: Keys, **options: Any) -> SavedModel:
        from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
        from scvi_downstream.pipelines.training.nodes import train_model

        folder = tmp_path_factory.mktemp(family)
        spec = model_options(
            {"name": "model", "family": family, "training": {"max_epochs": 1}, "n_latent": 4, **options}
        )
        store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
        model, _, _ = train_model(cells_with_covariates, spec, keys, 0, "cpu", store)
        dataset = ScviModelDataset(filepath=str(folder / "fitted"))
        dataset.save(model)
        return dataset.load()

    return fit


def by_scvi_tools(model: SavedModel, counts: AnnData) -> np.ndarray:
    return model.attach(counts).get_latent_representation()


def as_table(cells: AnnData, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    flat = cells.to_df().astype(int)
    proteins = cells.obsm.get("protein_expression")
    parts = [flat, cells.obs[list(columns)]]
    if proteins is not None:
        parts.append(proteins.add_prefix("protein:"))
    return pd.concat(parts, axis="columns")


def test_the_embedding_is_scvi_tools_own_bit_for_bit(fitted_scvi: SavedModel, pbmc_counts: AnnData) -> None:
    embedded = Embedder(fitted_scvi).embed(pbmc_counts)
    np.testing.assert_array_equal(embedded.to_numpy(), by_scvi_tools(fitted_scvi, pbmc_counts))
    assert embedded.index.equals(pbmc_counts.obs_names)
    assert embedded.columns.tolist() == [f"latent_{i}" for i in range(1, 6)]


def test_a_table_of_few_cells_in_another_order_gives_the_same(
    fitted_scvi: SavedModel, pbmc_counts: AnnData
) -> None:
    expected = by_scvi_tools(fitted_scvi, pbmc_counts)[CELLS]
    flat = as_table(pbmc_counts[CELLS]).iloc[:, ::-1]
    np.testing.assert_allclose(Embedder(fitted_scvi).embed(flat), expected, atol=1e-5)
    twice = pd.concat([flat, flat])
    np.testing.assert_allclose(Embedder(fitted_scvi).embed(twice), np.vstack([expected] * 2), atol=1e-5)


def test_a_batch_that_the_encoder_does_not_read_may_be_new_or_missing(
    fitted_scvi: SavedModel, pbmc_counts: AnnData
) -> None:
    embedder, cells = Embedder(fitted_scvi), pbmc_counts[CELLS].copy()
    expected = embedder.embed(cells)
    cells.obs["batch"] = "never seen"
    pd.testing.assert_frame_equal(embedder.embed(cells), expected)
    del cells.obs["batch"]
    pd.testing.assert_frame_equal(embedder.embed(cells), expected)
    assert embedder.needs.columns == ()


def test_new_cells_are_embedded_as_if_the_model_had_been_attached_to_them(
    fitted_scvi: SavedModel, pbmc_counts: AnnData
) -> None:
    """Counts thinned to half: other cells than those of the study, against scvi-tools' own read-out of them."""
    new = pbmc_counts.copy()
    rng = np.random.default_rng(1)
    new.X.data = rng.binomial(new.X.data.astype(int), 0.5).astype(np.float32)
    new.X.eliminate_zeros()
    np.testing.assert_array_equal(Embedder(fitted_scvi).embed(new), by_scvi_tools(fitted_scvi, new))


def test_an_encoder_that_reads_covariates_asks_for_them(
    fitted: Callable[..., SavedModel], cells_with_covariates: AnnData
) -> None:
    keys = Keys(batch_key="batch", categorical_covariates=("donor",), continuous_covariates=("age",))
    model = fitted("SCVI", keys, encode_covariates=True)
    embedder, cells = Embedder(model), cells_with_covariates[CELLS]
    assert set(embedder.needs.columns) == {"batch", "donor", "age"}
    expected = by_scvi_tools(model, cells_with_covariates)[CELLS]
    flat = as_table(cells, ("batch", "donor", "age")).assign(batch=cells.obs["batch"].astype(str).astype(int))
    np.testing.assert_allclose(embedder.embed(cells), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(flat), expected, atol=1e-5)
    other = embedder.embed(flat.assign(batch=str(cells.obs["batch"].cat.categories[-1]), age=3.0))
    assert np.abs(other.to_numpy() - expected).max() > 1e-3
    with pytest.raises(InputError, match="reads the column 'age'"):
        embedder.embed(flat.drop(columns="age"))
    with pytest.raises(InputError, match=r"'d3' of the column 'donor'.*the closest is 'd[12]'"):
        embedder.embed(flat.assign(donor="d3"))


@pytest.mark.parametrize(
    ("family", "study_keys", "columns", "options"),
    [
        ("SCANVI", Keys(batch_key="batch", label_key="cell_type", continuous_covariates=("age",)), (), {}),
        ("LinearSCVI", Keys(batch_key="batch"), (), {}),
        ("DRVI", Keys(batch_key="batch", categorical_covariates=("donor",)), (), {}),
        ("MRVI", Keys(sample_key="batch"), ("batch",), {"n_latent_u": 3}),
        ("TOTALVI", Keys(batch_key="batch", protein_key="protein_expression"), ("batch",), {}),
    ],
)
def test_every_family_embeds_a_table(
    fitted: Callable[..., SavedModel],
    cells_with_covariates: AnnData,
    family: str,
    study_keys: Keys,
    columns: tuple[str, ...],
    options: dict[str, Any],
) -> None:
    model = fitted(family, study_keys, **options)
    embedder = Embedder(model)
    assert embedder.needs.columns == columns
    expected = by_scvi_tools(model, cells_with_covariates)[CELLS]
    embedded = embedder.embed(as_table(cells_with_covariates[CELLS], columns))
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_a_file_that_could_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "executed"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    torch.save({"model_state_dict": {}, "var_names": Malicious(), "attr_dict": {}}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="could run code"):
        Embedder.from_folder(tmp_path).embed(pd.DataFrame({"A": [1]}))
    assert not marker.exists()


def test_options_cannot_be_changed(fitted_scvi: SavedModel) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Embedder(fitted_scvi).accelerator = "gpu"  # type: ignore[misc]
