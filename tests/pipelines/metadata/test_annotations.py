import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.obs import typed_values
from scvi_downstream.pipelines.metadata.annotations import (
    analysed,
    associate_annotations,
    gather_columns,
    join_annotations,
)
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, replicates_of

OPTIONS = defaults_of(MetadataAnalysisOptions)


@pytest.fixture
def obs() -> pd.DataFrame:
    sample = pd.Categorical(["s1", "s1", "s2", "s3"])
    return pd.DataFrame(
        {"sample": sample, "condition": pd.Categorical(["a", "a", "b", "b"]), "age": [30, 30, 40, 50]},
        index=list("wxyz"),
    )


def gathered(obs, table=None, options=OPTIONS, **keys):
    return gather_columns(obs, table, replicates_of(sample_key="sample", **keys), None, options)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], [1.0, 2.0, 3.0]),
        ([1.5, np.inf, None], [1.5, np.nan, np.nan]),
        (pd.array([1, None, 3], dtype="Int64"), [1.0, np.nan, 3.0]),
        ([True, False, True], ["True", "False", "True"]),
        (["007", "8", None], ["007", "8", None]),
        (pd.Categorical([2, 1, 2]), ["2", "1", "2"]),
    ],
)
def test_numbers_are_floats_and_the_rest_categories(values, expected):
    result = typed_values(pd.Series(values))
    pd.testing.assert_series_equal(
        result.astype(object).where(result.notna(), None),
        pd.Series(expected, dtype=object).where(pd.Series(expected).notna(), None),
        check_names=False,
    )
    assert result.dtype == "float64" or isinstance(result.dtype, pd.CategoricalDtype)


def test_columns_of_the_table_and_the_keys_are_taken_by_default(obs):
    table = pd.DataFrame({"sample": ["s1", "s2"], "sex": ["f", "m"], "bmi": [20.5, 25.0]})
    columns, sources, facts = gathered(obs, table, condition_key="condition")
    assert list(columns) == ["sex", "bmi", "condition"]
    assert columns["sex"].tolist()[:3] == ["f", "f", "m"]
    assert columns["sex"].isna().tolist() == [False, False, False, True]
    assert sources.to_dict() == {"sex": "table", "bmi": "table", "condition": "obs"}
    assert facts["n_cells_unmatched"] == 1
    assert facts["names_without_row"] == ["s3"]


def test_a_table_that_preparation_joined_already_is_the_same(obs):
    table = pd.DataFrame({"sample": ["s1", "s2", "s3"], "age": [30.0, 40.0, 50.0], "condition": list("abb")})
    columns, sources, _ = gathered(obs, table)
    assert columns["age"].tolist() == [30.0, 30.0, 40.0, 50.0]
    assert set(sources) == {"obs and table"}


def test_a_column_of_obs_with_other_values_is_never_replaced(obs):
    table = pd.DataFrame({"sample": ["s1", "s2", "s3"], "age": [30.0, 41.0, 50.0]})
    message = (
        r"'age' is in obs with other values \(1 cells differ, first 'y': '40' in obs, '41.0' in the table"
    )
    with pytest.raises(InputError, match=message):
        gathered(obs, table)


def test_misspelt_columns_and_nothing_to_analyse_are_said(obs):
    with pytest.raises(InputError, match=r"columns names 'aeg'.*the closest is 'age'"):
        gathered(obs, options=defaults_of(MetadataAnalysisOptions, columns=("aeg",)))
    with pytest.raises(InputError, match="there is no column to analyse: give a table by metadata="):
        gathered(obs)


def test_constant_columns_and_many_categories_are_not_analysed(obs):
    columns = pd.DataFrame(
        {
            "one": pd.Categorical(["a"] * 4),
            "many": pd.Categorical(list("abcd")),
            "few": pd.Categorical(list("abab")),
        }
    )
    assert list(analysed(columns, defaults_of(MetadataAnalysisOptions, max_categories=3))) == ["few"]


def joined(paired_counts, table, keys, **options):
    settings = defaults_of(MetadataAnalysisOptions, **options)
    return join_annotations(paired_counts, table, keys, defaults_of(PreparationOptions), settings)


def test_every_column_is_described(paired_counts, paired_keys):
    cells = paired_counts.obs_names
    table = pd.DataFrame(
        {"cell": cells, "plate": np.arange(len(cells)) % 3, "barcode": [f"b{i}" for i in range(len(cells))]}
    )
    _, described, _ = joined(paired_counts, table, paired_keys)
    notes = described.set_index("column")
    assert notes["type"].to_dict() == {"plate": "number", "barcode": "categories", "condition": "categories"}
    assert notes["unit"].to_dict() == {"plate": "cell", "barcode": "cell", "condition": "sample"}
    assert "write them as words to compare groups" in notes.loc["plate", "note"]
    assert notes.loc["barcode", "note"] == "not analysed: 720 categories, more than 30"
    assert notes.loc["condition", "note"] == "tested on 12 samples, within 6 blocks of 'donor'"
    assert notes.loc["plate", "first_values"] == "0, 1, 2"


def test_unmatched_rows_are_logged(paired_counts, paired_keys, caplog):
    table = pd.DataFrame({"sample": ["d0_control", "nowhere"], "x": [1.0, 2.0]})
    _, _, facts = joined(paired_counts, table, paired_keys)
    assert "1 of 2 rows of the metadata match no cell (first 'nowhere')" in caplog.text
    assert facts["n_cells_matched"] == 60


def test_duplicate_keys_are_refused(paired_counts, paired_keys):
    table = pd.DataFrame({"sample": ["d0_control", "d0_control"], "x": [1.0, 2.0]})
    with pytest.raises(InputError, match="'sample' holds 1 values more than once, first 'd0_control'"):
        joined(paired_counts, table, paired_keys)


def test_p_values_are_adjusted_within_cells_samples_and_blocks(paired_counts, paired_keys, paired_options):
    obs = paired_counts.obs
    latent = pd.DataFrame(np.random.default_rng(0).normal(size=(len(obs), 4)), index=obs.index)
    latent[0] += obs["score"]

    def table(names):
        return associate_annotations(latent, obs[names], paired_counts, paired_keys, paired_options)

    together = table(["condition", "score", "age"])
    for unit, name in {"sample": "condition", "cell": "score", "block": "age"}.items():
        mine = together[together["unit"] == unit]
        assert set(mine["covariate"]) == {name}
        np.testing.assert_array_equal(mine["p_adjusted"], table([name])["p_adjusted"])
