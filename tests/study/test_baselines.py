"""A baseline whose package is missing is refused with what to do."""

import pytest

from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study import plan
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters, defaults_of

STUDY = {
    "study": "mine",
    "input": "cells.h5ad",
    "batch_key": "donor",
    "primary": "scvi",
    "models": {"scvi": {"family": "SCVI"}},
    "comparison": defaults_of(ComparisonOptions, baselines=("harmony", "scanorama")).model_dump(),
}


def test_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"comparison.baselines names 'scanorama'.*pip install scanorama"):
        plan.plan_study(complete_parameters(default_parameters(STUDY)))


def test_nothing_is_missing_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_spec", lambda _: object())
    assert plan.plan_study(complete_parameters(default_parameters(STUDY))).baselines == (
        "pca",
        "harmony",
        "scanorama",
    )
