from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scvi_downstream.pipelines.samples.abundance import (
    SampleDensities,
    compare_abundance,
    log_ratios,
    sample_densities,
)
from scvi_downstream.pipelines.samples.design import SampleDesign, sample_design
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import defaults_of

N_PAIRS, PER_SAMPLE = 6, 60
OPTIONS = defaults_of(SamplesOptions)


def cells_of(share_of_first: float) -> tuple[SampleDensities, SampleDesign]:
    """Two types far apart; ``share_of_first`` of the cells of ``stim`` are of the first, half of those of ``ctrl``."""
    random = np.random.default_rng(0)
    of_cell = np.repeat(np.arange(2 * N_PAIRS), PER_SAMPLE)
    wanted = np.where(of_cell % 2 == 1, share_of_first, 0.5)
    first = random.random(len(of_cell)) < wanted
    u = random.normal(size=(len(of_cell), 2)) * 0.5 + np.where(first, -2, 2)[:, None]
    scale = np.full_like(u, 0.4)
    chosen = [np.flatnonzero(of_cell == s) for s in range(2 * N_PAIRS)]
    densities = SampleDensities(tuple(u[own] for own in chosen), tuple(scale[own] for own in chosen), u)
    members = np.vstack([np.ones(len(of_cell), dtype=bool), first, ~first])
    design = SampleDesign(
        samples=tuple(f"s{i}" for i in range(2 * N_PAIRS)),
        of_cell=of_cell,
        conditions=("ctrl", "stim") * N_PAIRS,
        reference="ctrl",
        blocks=tuple(f"d{i // 2}" for i in range(2 * N_PAIRS)),
        groups=("all cells", "first", "second"),
        members=members,
        grouping="type",
        cells=np.array([np.bincount(of_cell[inside], minlength=2 * N_PAIRS) for inside in members]),
        min_cells=5,
    )
    return densities, design


def test_a_planted_shift_of_composition_is_found() -> None:
    densities, design = cells_of(0.85)
    ratios, table = compare_abundance(densities, design, OPTIONS, 0)
    groups = table.set_index("group")
    assert groups.loc["first", "log_ratio"] == pytest.approx(np.log(0.85 / 0.5), abs=0.2)
    assert groups.loc["second", "log_ratio"] == pytest.approx(np.log(0.15 / 0.5), abs=0.3)
    assert groups.loc["first", "probability"] > 0.58
    assert groups.loc["second", "probability"] < 0.42
    assert (groups.loc[["first", "second"], "p_adjusted"] < 0.05).all()
    assert np.isfinite(ratios).all()


def test_equal_composition_gives_nothing() -> None:
    _, table = compare_abundance(*cells_of(0.5), OPTIONS, 0)
    groups = table.set_index("group")
    assert (groups["p"] > 0.05).all()
    assert (groups["own_condition_p"] > 0.05).all()
    assert (groups["probability"] - 0.5).abs().max() < 0.05


def test_u_that_tells_the_condition_is_noticed() -> None:
    densities, design = cells_of(0.5)
    moved = np.where(design.of_cell % 2 == 1, 1.5, 0.0)[:, None] * np.array([[1.0, -1.0]])
    u = densities.u + moved
    means = tuple(u[design.of_cell == s] for s in range(len(design.samples)))
    _, table = compare_abundance(SampleDensities(means, densities.scales, u), design, OPTIONS, 0)
    groups = table.set_index("group")
    assert (groups["own_condition"] > 0.8).all()
    assert (groups["own_condition_p"] == 2 / 64).all() or (groups["own_condition_p"] == 1 / 64).all()


def test_the_own_sample_is_left_out() -> None:
    logs = np.log(np.array([[8.0, 1.0, 2.0, 4.0]]))
    own = np.array([[True, False, False, False]])
    treated = np.array([1.0, 1.0, 0.0, 0.0])[:, None]
    assert log_ratios(logs, own, treated)[0, 0] == pytest.approx(np.log(1.0 / 3.0))


@pytest.mark.slow
def test_densities_are_those_of_scvi_tools(study: Any) -> None:
    design = sample_design(study.counts, study.clusters, study.keys, study.options)
    densities = sample_densities(study.model, design, study.options, 0)
    logs = densities.log_densities(np.arange(study.counts.n_obs))
    ratios, _ = compare_abundance(densities, design, study.options, 0)
    with quiet():
        theirs = study.model.differential_abundance(sample_cov_keys=["condition"])
    assert np.allclose(
        logs, theirs["log_probs"].sel(sample=list(design.samples)).values, rtol=1e-3, atol=1e-3
    )
    by_condition = theirs["condition_log_probs"]
    expected = (by_condition.sel(condition="stim") - by_condition.sel(condition="ctrl")).values
    assert np.allclose(ratios[:, 0], expected, rtol=1e-3, atol=5e-3)
