"""Private names of other libraries are where they were; where they are not, the message names library and name."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

from scvi_downstream.models import scvi_internals
from scvi_downstream.models.scvi_internals import PRIVATE, batches_in_order, kept_seed, private, torch_device


@pytest.mark.parametrize("name", PRIVATE)
def test_every_private_name_is_there(name: str) -> None:
    private(name)


def test_lightning_still_draws_mini_batches_with_its_data_fetcher() -> None:
    from lightning.pytorch import Trainer

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    private(scvi_internals._FETCHER, trainer.fit_loop)


@pytest.mark.parametrize("gone", ["scvi.settings._gone", "scvi.model._gone.parse_device_args"])
def test_a_name_that_is_gone_is_named_with_its_library(gone: str) -> None:
    with pytest.raises(AttributeError, match=rf"scvi-tools 1\.\d+.* has no {gone} any more"):
        private(gone)


def test_an_attribute_that_an_object_lacks_is_named_with_its_library() -> None:
    with pytest.raises(
        AttributeError, match=r"lightning 2\..* has no lightning\.pytorch\.Trainer\.fit_loop\._data_f"
    ):
        private(scvi_internals._FETCHER, object())


def test_the_seed_of_scvi_tools_is_put_back() -> None:
    import scvi

    before = scvi.settings.seed
    with kept_seed():
        scvi.settings.seed = 11
    assert scvi.settings.seed == before


def test_the_device_is_named_as_torch_names_it() -> None:
    assert torch_device("cpu") == "cpu"


def test_batches_are_compared_in_the_order_of_their_names() -> None:
    module = private(scvi_internals._DE).__module__
    names = vars(sys.modules[module])
    assert "in set(batchid1_vals)" in inspect.getsource(names["DifferentialComputation"])
    with batches_in_order():
        batches = names["set"](np.array(["b10", "a", "b2"]))
        assert list(batches) == ["a", "b10", "b2"]
        assert batches == {"b2", "b10", "a"}
        assert batches.intersection({"a"}) == {"a"}
    assert names["set"] is set


def test_sparse_likelihoods_take_the_place_of_stock_ones_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

    from scvi_downstream.upstream import sparse_likelihood as ours

    called: list[str] = []
    for name in ("log_nb_positive", "log_zinb_positive"):
        function = getattr(ours, name)
        monkeypatch.setattr(
            ours, name, lambda *given, f=function, **more: called.append(f.__name__) or f(*given, **more)
        )
    x, mu, theta = torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([0.5, 4.0])
    distributions = (
        NegativeBinomial(mu=mu, theta=theta),
        ZeroInflatedNegativeBinomial(mu=mu, theta=theta, zi_logits=mu),
    )
    stock = [private(name) for name in scvi_internals._LOG_LIKELIHOODS]
    for distribution in distributions:
        known = distribution.log_prob(x)
        with scvi_internals.sparse_likelihood():
            torch.testing.assert_close(distribution.log_prob(x), known)
    assert called == ["log_nb_positive", "log_zinb_positive"]
    with pytest.raises(ZeroDivisionError), scvi_internals.sparse_likelihood():
        _ = 1 / 0
    assert [private(name) for name in scvi_internals._LOG_LIKELIHOODS] == stock
