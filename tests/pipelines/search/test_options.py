"""A search that cannot be is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, model_spec


def base(**options: Any) -> dict[str, Any]:
    return model_spec({"name": "scvi", "family": "SCVI", **options}).model_dump(mode="json")


def test_objectives_that_the_study_does_not_have_are_refused() -> None:
    scib = defaults_of(SearchOptions, objectives=("elbo_validation", "scib_total"))
    spec = model_spec({"name": "scvi", "family": "SCVI"})
    with pytest.raises(InputError, match="scib_total needs label_key, which is empty"):
        scib.check_objectives(spec, Keys(batch_key="batch"))
    with pytest.raises(InputError, match="scib_total needs batch_key, which is empty"):
        scib.check_objectives(spec, Keys(label_key="type"))
    with pytest.raises(InputError, match="judges by the labels that SCANVI is trained on"):
        scib.check_objectives(
            model_spec({"name": "a", "family": "SCANVI"}), Keys(batch_key="b", label_key="l")
        )
    scib.check_objectives(spec, Keys(batch_key="batch", label_key="type"))


def test_the_searched_model_is_named() -> None:
    models = {
        "scvi": base(),
        "scanvi": model_spec({"name": "scanvi", "family": "SCANVI", "init_from": "scvi"}).model_dump(),
    }
    assert defaults_of(SearchOptions).find_base(models, "scvi")["family"] == "SCVI"
    with pytest.raises(InputError, match=r"search\.model 'scvy' is not among models; the closest is 'scvi'"):
        defaults_of(SearchOptions, model="scvy").find_base(models, "scvi")
    with pytest.raises(InputError, match=r"search\.model 'scanvi' starts from 'scvi'"):
        defaults_of(SearchOptions, model="scanvi").find_base(models, "scvi")


def test_a_search_that_no_one_asked_for_is_not_checked() -> None:
    starts = model_spec({"name": "scanvi", "family": "SCANVI", "init_from": "scvi"}).model_dump()
    defaults_of(SearchOptions).check({"scanvi": starts}, "scanvi", Keys())
    with pytest.raises(InputError, match=r"search\.space\.n_latnt is not an option"):
        defaults_of(SearchOptions, space={"n_latnt": [5]}).check({"scvi": base()}, "scvi", Keys())
