import inspect

import pytest

from scvi_downstream.errors import InputError
from scvi_downstream.models import FAMILIES, parse_spec
from scvi_downstream.models.saved import MODEL_CLASSES


def test_every_family_can_be_read_back() -> None:
    assert set(FAMILIES) == set(MODEL_CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_options_and_their_defaults_are_those_of_scvi_tools(family: str) -> None:
    import scvi
    from scvi.module import VAE

    spec = parse_spec({"name": "model", "family": family})
    own = inspect.signature(getattr(scvi.model, family)).parameters
    passed_on = inspect.signature(VAE).parameters
    for option, value in spec.hyperparameters.items():
        parameter = own.get(option) or passed_on[option]
        assert value == parameter.default, option


@pytest.mark.slow
def test_training_options_are_those_of_scvi_tools() -> None:
    from scvi.train import TrainingPlan

    training = parse_spec({"name": "model", "family": "SCVI"}).training
    plan = inspect.signature(TrainingPlan).parameters
    for option in (
        "lr",
        "weight_decay",
        "eps",
        "optimizer",
        "reduce_lr_on_plateau",
        "lr_factor",
        "lr_patience",
        "lr_min",
    ):
        assert getattr(training, option) == plan[option].default, option


def test_wrong_values_name_the_option_and_the_value() -> None:
    with pytest.raises(
        InputError, match=r"models\.mine\.n_latent: input should be greater than 0, but it is 0"
    ):
        parse_spec({"name": "mine", "family": "SCVI", "n_latent": 0})
