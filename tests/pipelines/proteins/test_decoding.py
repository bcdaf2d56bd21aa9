"""Decoded proteins are scvi-tools' own, and of the batches that measured them where a batch did not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.pipelines.proteins.decoding import decode, decode_all, denoise_proteins
from scvi_downstream.runtime.threads import quiet

from .conftest import KEYS, MARKERS_OF_A, MARKERS_OF_B, OPTIONS, Study, scores_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("batches", [None, ["one"], ["one", "two"]])
def test_means_are_those_of_scvi_tools(study: Study, batches: list[str] | None) -> None:
    model = study.fitted.attach(study.counts)
    cells = np.arange(40)
    decoded = decode(model, cells, batches, n_samples=400, seed=0, label="test")
    with reproducible(1), quiet():
        arguments = {"indices": cells, "transform_batch": batches, "n_samples": 400}
        _, expected = model.get_normalized_expression(**arguments)
        probability = model.get_protein_foreground_probability(**arguments)
    np.testing.assert_allclose(decoded.foreground, probability, atol=0.06)
    assert np.corrcoef(np.log1p(decoded.mean).ravel(), np.log1p(expected.to_numpy()).ravel())[0, 1] > 0.999
    noise = np.sqrt(2 / 400) * decoded.sd
    assert (np.abs(decoded.mean - expected.to_numpy()) < 6 * noise + 0.1).mean() > 0.99
    assert (decoded.expected >= decoded.mean).all()


def test_what_marks_a_type_is_foreground_there(study: Study) -> None:
    arguments = (study.pca_latent, scores_of(), KEYS, OPTIONS, 0, "cpu")
    mean, _, foreground = denoise_proteins(study.fitted, study.counts, *arguments)
    types = study.counts.obs["type"].to_numpy()
    by_type, shares = mean.groupby(types).mean(), foreground.groupby(types).mean()
    assert (shares <= 1).all(axis=None)
    for names, high, low in ((MARKERS_OF_A, "A", "B"), (MARKERS_OF_B, "B", "A")):
        assert (by_type.loc[high, list(names)] > 4 * by_type.loc[low, list(names)]).all()


def test_unmeasured_proteins_are_imputed_from_the_other_batch(partial_study: Study) -> None:
    counts = partial_study.counts
    model = partial_study.fitted.attach(counts)
    decoded, measured = decode_all(model, counts.obs["batch"], n_samples=10, seed=0)
    assert measured.all(axis=1).to_dict() == {"one": True, "two": False}
    cells = np.flatnonzero((counts.obs["batch"] == "two").to_numpy())
    as_one = decode(model, cells, ["one"], n_samples=10, seed=0, label="test")
    np.testing.assert_array_equal(decoded.mean[cells], as_one.mean)
    is_a = (counts.obs["type"] == "A").to_numpy()[cells]
    assert decoded.mean[cells][is_a, 0].mean() > 2 * decoded.mean[cells][~is_a, 0].mean()


@pytest.mark.parametrize("better", ["totalvi", "knn_pca"])
def test_what_follows_hidden_proteins_better_is_delivered(partial_study: Study, better: str) -> None:
    counts, pca = partial_study.counts, partial_study.pca_latent
    scores = scores_of(**{"totalvi": 0.5, "knn_pca": 0.4, "knn_latent": 0.3, better: 0.6})
    mean, sd, foreground = denoise_proteins(
        partial_study.fitted, counts, pca, scores, KEYS, OPTIONS, 0, "cpu"
    )
    own, _ = decode_all(partial_study.fitted.attach(counts), counts.obs["batch"], n_samples=10, seed=0)
    missing = (counts.obs["batch"] == "two").to_numpy()
    np.testing.assert_array_equal(mean[~missing], own.mean[~missing])
    if better == "totalvi":
        np.testing.assert_array_equal(mean[missing], own.mean[missing])
        return
    points = pca.to_numpy()
    nearest = np.flatnonzero(~missing)[cdist(points[missing], points[~missing]).argsort(axis=1)[:, :15]]
    counted = np.log1p(counts.obsm["protein_expression"].to_numpy())
    theirs, found = counted[nearest].mean(axis=1), np.log1p(mean[missing].to_numpy())
    shown = (found > 0).all(axis=0)
    assert shown.any()
    for protein in np.flatnonzero(shown):
        assert np.corrcoef(theirs[:, protein], found[:, protein])[0, 1] > 0.9999
    # on the scale of the denoised values of the cells that were measured
    levels, denoised = found.mean(axis=0), np.log1p(own.mean[~missing]).mean(axis=0)
    np.testing.assert_allclose(levels, denoised, atol=0.6)
    np.testing.assert_allclose(foreground[missing], own.foreground[nearest].mean(axis=1), rtol=1e-5)
    assert (sd >= 0).all(axis=None)
