from __future__ import annotations

import pytest

from scvi_downstream.pipelines.stability.pipeline import template, trial_template

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")  # as in settings.py


def test_templates_ask_for_what_the_model_and_the_study_have() -> None:
    labelled = trial_template(labels=True, genes=True)
    assert labelled.all_outputs() == {"seed_clusters", "seed_markers"}
    assert "reference_clusters" not in labelled.inputs()
    assert "reference_clusters" in trial_template(labels=False, genes=True).inputs()
    assert trial_template(labels=True, genes=False).all_outputs() == {"seed_clusters"}
    gathered = template({"scvi": ["scvi", "scvi_seed1"], "mrvi": ["mrvi", "mrvi_seed1"]}, ["mrvi"])
    assert {"scvi.seeds_figure", "mrvi.seed_summary", "stability_summary"} <= gathered.all_outputs()
    assert "scvi_seed1.seed_markers" in gathered.inputs()
    assert "mrvi.seed_markers" not in gathered.inputs()
