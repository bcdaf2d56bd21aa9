"""A default stands in ``conf/base`` and nowhere else, and notebooks and tests get it from there."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from pydantic import ValidationError

from scvi_downstream import pipelines
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.comparison.options import ChampionRule, ComparisonOptions
from scvi_downstream.pipelines.de.options import DeOptions, MarkerOptions
from scvi_downstream.pipelines.imputation.options import ThinningOptions
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.preparation.options import CellFilters, PreparationOptions
from scvi_downstream.pipelines.trajectory.options import SlingshotOptions, TrajectoryOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Options
from scvi_downstream.study.completion import complete_parameters, typed_options
from scvi_downstream.study.defaults import default_parameters, defaults_of, model_options, model_spec
from scvi_downstream.study.parameters import study_parameters


def descendants(kind: type[Options]) -> Iterator[type[Options]]:
    for below in kind.__subclasses__():
        yield below
        yield from descendants(below)


def every_kind() -> list[type[Options]]:
    """All options of the package but the keys and the models, where ``None`` and scvi-tools' own defaults are meant."""
    for module in iter_modules(pipelines.__path__, f"{pipelines.__name__}."):
        if module.ispkg and any(
            each.name == "options" for each in iter_modules(import_module(module.name).__path__)
        ):
            import_module(f"{module.name}.options")
    return [
        kind
        for kind in descendants(Options)
        if not issubclass(kind, Keys | ModelSpec) and kind.__module__.startswith("scvi_downstream.")
    ]


def groups_in_conf(
    kind: type[Options], values: dict[str, Any], place: str = ""
) -> Iterator[tuple[str, type[Options], dict[str, Any]]]:
    yield place, kind, values
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            yield from groups_in_conf(field.annotation, values[name], f"{place}{name}.")


def test_options_have_no_defaults_of_their_own() -> None:
    kinds = every_kind()
    assert len(kinds) > 30
    optional = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.is_required()
    ]
    assert optional == []
    assert ModelSpec.model_fields["training"].is_required()


def test_conf_has_a_value_for_every_option_and_none_beside() -> None:
    groups = list(groups_in_conf(study_parameters(), default_parameters()))
    for place, kind, values in groups:
        assert set(values) == set(kind.model_fields), place
    met = [kind for _, kind, _ in groups]
    assert len(met) == len(set(met)), "a kind of options has two places, and defaults_of can only mean one"
    assert set(every_kind()) - set(met) <= set(study_parameters().__mro__)


def test_every_value_in_conf_is_valid() -> None:
    for place, kind, values in groups_in_conf(study_parameters(), default_parameters()):
        if place:
            assert kind.model_validate(values) == defaults_of(kind), place
    complete = complete_parameters(default_parameters())
    assert complete["study"] == "pbmc68k"
    assert typed_options(complete)["de"] == defaults_of(DeOptions)


def test_a_parameter_without_a_value_is_named() -> None:
    raw = default_parameters()
    del raw["de"]["delta"]
    with pytest.raises(InputError, match=r"parameter de\.delta has no value; conf/base holds one"):
        complete_parameters(raw)


def test_changes_leave_the_other_defaults() -> None:
    assert defaults_of(DeOptions, delta=1.0) == defaults_of(DeOptions).model_copy(update={"delta": 1.0})
    assert defaults_of(TrainingOptions, max_epochs=3).batch_size == defaults_of(TrainingOptions).batch_size


def test_options_within_options_are_found_and_changed_in_part() -> None:
    few = defaults_of(TrajectoryOptions, slingshot={"bootstraps": 3}).slingshot
    assert few == defaults_of(SlingshotOptions, bootstraps=3)
    assert few.ends == ()
    assert defaults_of(MarkerOptions) == defaults_of(DeOptions).markers
    assert defaults_of(ThinningOptions, max_cells=7).max_cells == 7
    filters = defaults_of(CellFilters, min_genes=200)
    assert defaults_of(PreparationOptions, filters=filters).filters == filters
    rule = defaults_of(ChampionRule, tie_breaker="seconds")
    assert defaults_of(ComparisonOptions, champion=rule).champion.tie_breakers == ("seconds",)


def test_what_is_free_in_form_is_replaced() -> None:
    assert defaults_of(PredictionOptions, mrvi={"n_latent": 5}).mrvi == {"n_latent": 5}
    models = {"mine": {"family": "SCVI"}}
    raw = default_parameters({"models": models, "primary": "mine", "de": {"delta": 1.0}})
    assert raw["models"] == models
    assert raw["de"] == {**default_parameters()["de"], "delta": 1.0}
    assert list(complete_parameters(raw)["models"]) == ["mine"]


def test_wrong_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="delta"):
        defaults_of(DeOptions, delta=-1)
    with pytest.raises(ValidationError, match="detla"):
        defaults_of(DeOptions, detla=1)
    with pytest.raises(InputError, match="Keys is not among the options of a study"):
        defaults_of(Keys)


def test_what_is_done_to_the_defaults_stays_with_the_one_who_did_it() -> None:
    raw = default_parameters()
    raw["de"]["delta"] = 7.0
    raw["models"].clear()
    assert default_parameters()["de"]["delta"] != 7.0
    assert default_parameters()["models"]


def test_models_take_the_training_of_the_project() -> None:
    entry = {"name": "mine", "family": "SCVI", "training": {"max_epochs": 15}}
    assert model_spec(entry).training == defaults_of(TrainingOptions, max_epochs=15)
    assert model_spec(model_options({"name": "mine", "family": "SCVI"})).training == defaults_of(
        TrainingOptions
    )
    assert model_spec({"name": "mine", "family": "SCVI", "n_latent": 3}).hyperparameters["n_latent"] == 3
