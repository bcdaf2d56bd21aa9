"""The design of a study in the report."""

from types import SimpleNamespace

import pandas as pd

from scvi_downstream.cells.study_design import describe_design
from scvi_downstream.pipelines.preparation.report import findings
from scvi_downstream.study.defaults import replicates_of


def test_the_report_begins_with_the_samples_and_how_conditions_are_compared():
    samples = [(f"d{i}", condition, f"d{i}{condition}") for i in range(5) for condition in ("ctrl", "stim")]
    obs = pd.DataFrame(samples, columns=["donor", "condition", "sample"])
    keys = replicates_of(batch_key="donor", sample_key="sample", condition_key="condition")
    contents = {"preparation_summary": {"design": describe_design(obs, keys)}}
    first, second = findings(contents, SimpleNamespace(keys=keys))
    assert first == (
        "10 samples of 'sample' (5 of 'ctrl', 5 of 'stim') in 5 blocks of 'donor'. Conditions are compared within "
        "'donor' (found in the data; block_key: \"\" switches it off)."
    )
    assert second == "'donor' and 'condition' are crossed, 1 sample a combination."
    assert list(findings({"preparation_summary": {}}, SimpleNamespace(keys=keys))) == []
