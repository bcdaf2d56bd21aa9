from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def outcome(layers: Any, x: Any, category: Any) -> dict[str, Any]:
    """Output, gradients and running moments after a training step from one state of the generator."""
    import torch

    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    out = layers(x, category)
    (out.square() * torch.linspace(-1, 1, out.shape[1])).sum().backward()
    found = {f"gradient of {name}": weight.grad for name, weight in layers.named_parameters()}
    return found | {"output": out.detach(), "gradient of x": x.grad} | dict(layers.named_buffers())


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    n_layers=st.integers(1, 3),
    dropout_rate=st.sampled_from([0.0, 0.3]),
    inject_covariates=st.booleans(),
    n_categories=st.integers(1, 3),
    n_cells=st.integers(2, 40),
    n_hidden=st.integers(1, 33),
    seed=st.integers(0, 1000),
)
def test_output_gradients_and_running_moments_are_stocks(
    n_categories: int, n_cells: int, seed: int, **options: Any
) -> None:
    import torch
    from scvi.nn import FCLayers

    from scvi_downstream.models.hidden_layers import _Stack, one_node_a_layer

    torch.manual_seed(seed)
    layers = FCLayers(n_in=7, n_out=5, n_cat_list=[n_categories], **options)
    x, category = torch.randn(n_cells, 7), torch.randint(n_categories, (n_cells, 1))
    expected = outcome(deepcopy(layers), x, category)
    with one_node_a_layer(layers):
        assert isinstance(layers.forward, _Stack)
        found = outcome(layers, x, category)
        with torch.no_grad():
            shown = layers.eval()(x, category)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        torch.testing.assert_close(
            found[name], values, rtol=1e-3, atol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )
    torch.testing.assert_close(shown, layers(x, category))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"use_layer_norm": True}, {"use_batch_norm": False}, {"use_activation": False}]
)
def test_other_layers_are_left_alone(options: dict[str, bool]) -> None:
    from scvi.nn import FCLayers

    from scvi_downstream.models.hidden_layers import one_node_a_layer

    layers = FCLayers(n_in=3, n_out=2, **options)
    with one_node_a_layer(layers):
        assert "forward" not in vars(layers)


@pytest.mark.slow
def test_frozen_normalisation_is_left_alone() -> None:
    from scvi.nn import FCLayers
    from torch import nn

    from scvi_downstream.models.hidden_layers import one_node_a_layer
    from scvi_downstream.models.surgery import _FrozenBatchNorm1d

    layers = FCLayers(n_in=3, n_out=2)
    for part in layers.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.__class__ = _FrozenBatchNorm1d
    with one_node_a_layer(layers):
        assert "forward" not in vars(layers)
