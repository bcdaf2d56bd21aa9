import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.metadata.designs import find_samples, pairing_column, sample_columns
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.metadata.report import how_tested
from scvi_downstream.runtime.errors import InputError


def test_blocks_and_units(paired_counts, paired_keys, paired_options):
    obs = paired_counts.obs
    samples = find_samples(obs, paired_keys, paired_options)
    assert samples.block["d3_treated"] == "d3"
    columns = sample_columns(obs[["condition", "age", "score", "donor"]], samples)
    assert list(columns) == ["condition", "age"]
    assert columns["condition"].unit == "sample"
    assert columns["age"].unit == "block"
    assert columns["age"].values.to_dict()["d1"] == 51
    assert columns["age"].unit_of_cell["cell0"] == "d0"


def test_a_sample_of_several_conditions_is_divided_and_becomes_the_block(paired_counts):
    keys = Keys(sample_key="donor", condition_key="condition")
    samples = find_samples(paired_counts.obs, keys, MetadataAnalysisOptions())
    assert samples.name == "donor × condition"
    assert samples.block_name == "donor"
    assert samples.of_cell.nunique() == 12
    column = sample_columns(paired_counts.obs[["condition"]], samples)["condition"]
    assert column.unit == "sample"
    assert column.blocks.nunique() == 6


def test_without_sample_key_there_are_no_samples(paired_counts, paired_options):
    assert find_samples(paired_counts.obs, Keys(condition_key="condition"), paired_options) is None
    assert sample_columns(paired_counts.obs[["condition"]], None) == {}


def test_pairs_are_not_guessed_but_said(paired_counts, paired_keys):
    options = MetadataAnalysisOptions()
    samples = find_samples(paired_counts.obs, paired_keys, options)
    assert samples.block is None
    usable = paired_counts.obs[["condition", "age"]]
    columns = sample_columns(usable, samples)
    assert pairing_column(paired_counts.obs, samples, columns["condition"].values) == "donor"
    notes = how_tested(paired_counts.obs, usable, samples, columns, paired_keys, options)
    assert "metadata_analysis.block_key=donor compares within them" in notes["condition"]


def test_annotations_that_divide_the_samples_alike_are_named(paired_counts, paired_keys, paired_options):
    obs = paired_counts.obs.assign(
        plate=(paired_counts.obs["condition"] == "treated").map({True: "p1", False: "p2"}).astype("category")
    )
    samples = find_samples(obs, paired_keys, paired_options)
    usable = obs[["condition", "plate", "donor"]]
    columns = sample_columns(usable, samples)
    notes = how_tested(obs, usable, samples, columns, paired_keys, paired_options)
    assert "divides the samples exactly as 'condition' does" in notes["plate"]
    assert notes["donor"] == "not tested: it names the samples or their blocks"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("dnor", "block_key 'dnor' is not a column of obs; the closest is 'donor'"),
        ("cell_type", "block_key 'cell_type' has several values within one sample"),
    ],
)
def test_wrong_blocks_are_refused(paired_counts, paired_keys, block, message):
    with pytest.raises(InputError, match=message):
        find_samples(paired_counts.obs, paired_keys, MetadataAnalysisOptions(block_key=block))


def test_missing_values_are_left_out(paired_counts, paired_keys, paired_options):
    values = paired_counts.obs["condition"].copy()
    values[paired_counts.obs["sample"] == "d0_control"] = None
    samples = find_samples(paired_counts.obs, paired_keys, paired_options)
    column = sample_columns(pd.DataFrame({"condition": values}), samples)["condition"]
    assert "d0_control" not in column.values.index
    assert len(column.values) == 11
