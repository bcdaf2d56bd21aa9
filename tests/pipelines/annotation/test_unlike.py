"""Cells unlike the labelled ones: as often as chance has it when there are none, and found when there are."""

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.annotation.transfer import (
    certainty_p_values,
    distance_p_values,
    unlike_labelled,
    unlike_p_values,
)


def roles_of(n_given, n_held_out, n_unknown):
    names = ["given"] * n_given + ["held_out"] * n_held_out + ["unknown"] * n_unknown
    return pd.Series(pd.Categorical(names), index=[f"c{i}" for i in range(len(names))])


def test_p_values_by_hand():
    distances = np.array([1.0, 2.0, 3.0, 2.5, 9.0])
    p = distance_p_values(distances, np.array([True, True, True, False, False]))
    assert np.isnan(p[:3]).all()
    np.testing.assert_allclose(p[3:], [2 / 4, 1 / 4])
    certainty = np.array([0.9, 0.8, 0.6, 0.7, 0.1])
    p = certainty_p_values(certainty, roles_of(1, 2, 2))
    assert np.isnan(p[0])
    np.testing.assert_allclose(p[1:], [1.0, 1 / 2, 2 / 3, 1 / 3])


def test_they_are_uniform_when_all_cells_are_alike():
    rng = np.random.default_rng(0)
    roles = roles_of(60, 40, 50)
    far, unsure = [], []
    for _ in range(200):
        values = rng.gamma(2, size=150)
        far.append(distance_p_values(values, (roles == "given").to_numpy())[60:])
        unsure.append(certainty_p_values(1 - values / 100, roles)[60:])
    for p in (np.concatenate(far), np.concatenate(unsure)):
        for level in (0.05, 0.2, 0.5, 0.9):
            assert abs((p <= level).mean() - level) < 0.04
            assert (p <= level).mean() <= level + 0.02


def test_alike_cells_are_rarely_called_unlike_and_others_are():
    rng = np.random.default_rng(1)
    roles = roles_of(200, 100, 200)
    fresh = np.arange(500) >= 400

    def called(shift):
        certainty = np.clip(rng.beta(20, 1, 500) - shift * fresh, 0.4, 1)
        table = pd.DataFrame({"a": certainty, "b": 1 - certainty}, index=roles.index)
        p = pd.Series(np.where(roles == "given", np.nan, rng.random(500)), index=roles.index)
        return unlike_labelled(unlike_p_values([table, table], p, roles), roles, 0.05).to_numpy()

    assert np.mean([called(0).any() for _ in range(40)]) < 0.15
    found = called(0.5)
    assert found[fresh].mean() > 0.95
    assert found[:400].mean() < 0.05
    assert not found[:200].any()


def test_without_held_out_cells_the_distance_decides():
    roles = roles_of(3, 0, 2)
    table = pd.DataFrame({"a": np.linspace(0.1, 1, 5), "b": np.linspace(0.9, 0, 5)}, index=roles.index)
    distance_p = pd.Series([np.nan] * 3 + [0.01, 0.4], index=roles.index)
    p = unlike_p_values([table], distance_p, roles)
    np.testing.assert_allclose(p.iloc[3:], [0.02, 0.8])
