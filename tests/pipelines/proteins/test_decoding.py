from __future__ import annotations

import numpy as np
import pytest

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.pipelines.proteins.decoding import decode, decode_all

from .conftest import MARKERS_OF_A, SAME, Study

CELLS = np.arange(40)
pytestmark = pytest.mark.slow


def test_it_is_what_scvi_tools_decodes(study: Study) -> None:
    found = decode(study.model, CELLS, ["one", "two"], n_samples=400, seed=0, label="test")
    arguments = {"transform_batch": ["one", "two"], "n_samples": 400, "indices": CELLS}
    with reproducible(1), quiet():
        _, foreground = study.model.get_normalized_expression(**arguments)
        _, expected = study.model.get_normalized_expression(**arguments, include_protein_background=True)
        probability = study.model.get_protein_foreground_probability(**arguments)
    noise = 8 * found.sd / np.sqrt(400) + 0.02 * found.expected
    assert (np.abs(found.mean - foreground.to_numpy()) < noise).all()
    assert (np.abs(found.expected - expected.to_numpy()) < noise).all()
    assert np.abs(found.foreground - probability.to_numpy()).max() < 0.05


def test_one_seed_one_result_whatever_the_mode(study: Study) -> None:
    first = decode(study.model, CELLS, None, n_samples=3, seed=0, label="test")
    study.model.module.train()
    again = decode(study.model, CELLS, None, n_samples=3, seed=0, label="test")
    np.testing.assert_array_equal(first.mean, again.mean)
    other = decode(study.model, CELLS, None, n_samples=3, seed=1, label="test")
    assert (first.mean != other.mean).any()


def test_the_foreground_follows_the_type_and_background_is_taken_away(study: Study) -> None:
    decoded, measured = decode_all(study.model, study.counts.obs["batch"], n_samples=10, seed=0)
    names = list(study.counts.obsm["protein_expression"].columns)
    is_a = (study.counts.obs["cell_type"] == "A").to_numpy()
    assert measured.all(axis=None)
    for protein in MARKERS_OF_A:
        position = names.index(protein)
        assert decoded.mean[is_a, position].mean() > 5 * decoded.mean[~is_a, position].mean()
        assert decoded.foreground[is_a, position].mean() > 0.8
    for protein in SAME:
        position = names.index(protein)
        raw = study.counts.obsm["protein_expression"][protein]
        assert decoded.mean[:, position].mean() < raw.mean()
    assert (decoded.sd > 0).all()


def test_unmeasured_proteins_are_decoded_as_of_the_batch_that_measured(partly_measured: Study) -> None:
    batches = partly_measured.counts.obs["batch"]
    decoded, measured = decode_all(partly_measured.model, batches, n_samples=10, seed=0)
    assert measured.loc["one"].all()
    assert not measured.loc["two"].any()
    absent = np.flatnonzero(batches == "two")
    as_one = decode(partly_measured.model, absent, ["one"], n_samples=10, seed=0, label="test")
    np.testing.assert_array_equal(decoded.mean[absent], as_one.mean)
    is_a = (partly_measured.counts.obs["cell_type"] == "A").to_numpy()[absent]
    names = list(partly_measured.counts.obsm["protein_expression"].columns)
    imputed = decoded.mean[absent, names.index("CD3")]
    assert imputed[is_a].mean() > 3 * imputed[~is_a].mean()
