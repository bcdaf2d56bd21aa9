"""Decoded proteins are scvi-tools' own, and of the batches that measured them where a batch did not."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from scvi_downstream.models import SavedModel
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.pipelines.proteins.decoding import decode, decode_all
from scvi_downstream.pipelines.proteins.nodes import denoise_proteins

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("batches", [None, ["a"], ["a", "b"]])
def test_means_are_those_of_scvi_tools(
    fitted: SavedModel, counts: AnnData, batches: list[str] | None
) -> None:
    model = fitted.attach(counts)
    cells = np.arange(40)
    decoded = decode(model, cells, batches, n_samples=400, seed=0, label="test")
    with reproducible(1), quiet():
        arguments = {"indices": cells, "transform_batch": batches, "n_samples": 400}
        _, expected = model.get_normalized_expression(**arguments)
        probability = model.get_protein_foreground_probability(**arguments)
    np.testing.assert_allclose(decoded.foreground, probability, atol=0.06)
    assert np.corrcoef(np.log1p(decoded.mean).ravel(), np.log1p(expected.to_numpy()).ravel())[0, 1] > 0.999
    error = np.abs(decoded.mean - expected.to_numpy())
    assert (error < 6 * decoded.sd / np.sqrt(400) * np.sqrt(2) + 0.1).mean() > 0.99
    assert (decoded.expected >= decoded.mean).all()


def test_the_same_seed_gives_the_same_bits(fitted: SavedModel, counts: AnnData, keys: Keys) -> None:
    tables = [denoise_proteins(fitted, counts, keys, ProteinsOptions(), 0, "cpu") for _ in range(2)]
    for first, second in zip(*tables, strict=True):
        assert first.equals(second)
        assert first.shape == (counts.n_obs, 6)
    assert (tables[0][2].to_numpy() >= 0).all()
    assert (tables[0][2].to_numpy() <= 1).all()


def test_what_marks_a_type_is_foreground_there(fitted: SavedModel, counts: AnnData, keys: Keys) -> None:
    mean, _, _ = denoise_proteins(fitted, counts, keys, ProteinsOptions(), 0, "cpu")
    by_type = mean.groupby(counts.obs["type"].to_numpy()).mean()
    assert (by_type.loc["x"].to_numpy()[:3] > 4 * by_type.loc["y"].to_numpy()[:3]).all()
    assert (by_type.loc["y"].to_numpy()[3:] > 4 * by_type.loc["x"].to_numpy()[3:]).all()


def test_unmeasured_proteins_are_imputed_from_the_other_batch(
    fitted_without_b: SavedModel, counts_without_b: AnnData, keys: Keys
) -> None:
    model = fitted_without_b.attach(counts_without_b)
    batches = counts_without_b.obs["batch"]
    decoded, measured = decode_all(model, batches, n_samples=10, seed=0)
    assert measured.all(axis=1).to_dict() == {"a": True, "b": False}
    cells = np.flatnonzero((batches == "b").to_numpy())
    as_a = decode(model, cells, ["a"], n_samples=10, seed=0, label="test")
    np.testing.assert_array_equal(decoded.mean[cells], as_a.mean)
    is_x = (counts_without_b.obs["type"] == "x").to_numpy()[cells]
    assert decoded.mean[cells][is_x, 0].mean() > 2 * decoded.mean[cells][~is_x, 0].mean()
