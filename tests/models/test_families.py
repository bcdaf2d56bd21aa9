import inspect
from typing import Any, Literal

import pytest

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import model_class_of
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import model_spec


def test_every_family_can_be_read_back() -> None:
    assert all(family.module.startswith("scvi.") and "doi:" in family.paper for family in FAMILIES.values())


def test_a_family_without_its_words_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="MuteSpec lacks description, obsm_key, paper and title"):

        class MuteSpec(ModelSpec):
            family: Literal["MUTE"] = "MUTE"


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_options_and_their_defaults_are_those_of_scvi_tools(family: str) -> None:
    from scvi.module import VAE

    spec = model_spec({"name": "model", "family": family})
    model_class = model_class_of(family)
    passed_on = [*model_class.__mro__, *model_class._module_cls.__mro__, VAE]
    defaults: dict[str, Any] = {}
    for called in reversed([step for step in passed_on if "__init__" in vars(step)]):
        defaults |= {
            name: parameter.default for name, parameter in inspect.signature(called).parameters.items()
        }
    for option, value in spec.hyperparameters.items():
        assert value == defaults[option], option


@pytest.mark.slow
def test_training_options_are_those_of_scvi_tools() -> None:
    from scvi.train import TrainingPlan

    training = model_spec({"name": "model", "family": "SCVI"}).training
    plan = inspect.signature(TrainingPlan).parameters
    for option in ("weight_decay", "eps", "optimizer", "lr_min"):
        assert getattr(training, option) == plan[option].default, option
    chosen = {"lr", "reduce_lr_on_plateau", "lr_factor", "lr_patience"}
    assert chosen <= plan.keys() & type(training).model_fields.keys()


def test_wrong_values_name_the_option_and_the_value() -> None:
    with pytest.raises(
        InputError, match=r"models\.mine\.n_latent: input should be greater than 0, but it is 0"
    ):
        model_spec({"name": "mine", "family": "SCVI", "n_latent": 0})
