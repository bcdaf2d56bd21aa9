"""What is given explicitly goes before the profile."""

import pytest
from pydantic import ValidationError

from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.study.defaults import defaults_of


def test_full_is_the_stock_and_fast_looks_at_less() -> None:
    full, fast = (
        defaults_of(ComparisonOptions).metrics_profile,
        defaults_of(ComparisonOptions, profile="fast").metrics_profile,
    )
    assert full.max_cells == 50_000
    assert full.resolutions == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    assert fast.max_cells < full.max_cells
    assert set(fast.resolutions) < set(full.resolutions)


def test_explicit_options_override() -> None:
    assert defaults_of(ComparisonOptions, profile="fast", max_cells=70).metrics_profile.max_cells == 70
    assert defaults_of(ComparisonOptions, leiden_optimisation=False).metrics_profile.resolutions == ()
    both = defaults_of(ComparisonOptions, profile="fast", leiden_optimisation=True).metrics_profile
    assert both.resolutions == defaults_of(ComparisonOptions).metrics_profile.resolutions
    assert both.max_cells == defaults_of(ComparisonOptions, profile="fast").metrics_profile.max_cells
    with pytest.raises(ValidationError, match="full"):
        defaults_of(ComparisonOptions, profile="slow")
