"""What is said of a design before anything is trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.study_design import block_of, comparison_sentence, describe_design, relation
from scvi_downstream.study.defaults import replicates_of

KEYS = replicates_of(sample_key="sample", condition_key="condition", batch_key="batch", label_key="cell_type")


def study(conditions: str, batches: str) -> pd.DataFrame:
    """Four cells of each sample, of which the first is of a type of its own."""
    table = pd.DataFrame({"condition": list(conditions), "batch": list(batches)})
    obs = table.assign(sample=[f"s{i}" for i in table.index]).loc[np.repeat(table.index, 4)]
    obs["cell_type"] = ["rare", *["A", "B", "unknown", "A"] * len(table)][: len(obs)]
    return obs.set_axis([f"cell{i}" for i in range(len(obs))])


def relation_in(design: dict, first: str, second: str) -> str:
    return next(
        each["relation"] for each in design["relations"] if {each["first"], each["second"]} == {first, second}
    )


@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=4), min_size=2, max_size=4))
def test_relations_turn_with_the_table(rows):
    n = np.array([row[: min(map(len, rows))] for row in rows])
    n = n[n.sum(axis=1) > 0][:, n.sum(axis=0) > 0]
    if min(n.shape) < 2:
        return
    turned = {"nested": "nests", "nests": "nested"}
    found = relation(pd.DataFrame(n))
    assert relation(pd.DataFrame(n.T)) == turned.get(found, found)
    assert (found == "crossed") == (n > 0).all()
    determines = ((n > 0).sum(axis=1) == 1).all()
    assert determines == (found in ("confounded", "nested"))


@pytest.mark.parametrize(
    ("conditions", "batches", "expected", "block", "said"),
    [
        ("abababab", "wwxxyyzz", "crossed", "batch", "8 samples of 'sample' (4 of 'a', 4 of 'b') in 4 blocks"),
        ("aabbaabb", "xxxxyyyy", "crossed", "batch", "'batch' and 'condition' are crossed, 2 samples a combination"),
        ("aaabbb", "xxyyyz", "partly crossed", None, "are partly crossed, 1 to 2 samples a combination"),
        ("aaaabbbb", "wwxxyyzz", "nested", None, "'batch' is nested in 'condition'"),
        ("aabbccdd", "xxxxyyyy", "nests", None, "'condition' is nested in 'batch'"),
        ("aaaabbbb", "xxxxyyyy", "confounded", None, "'batch' and 'condition' are confounded"),
    ],
)  # fmt: skip
def test_batches_lie_to_conditions_as_they_were_made(conditions, batches, expected, block, said):
    design = describe_design(study(conditions, batches), KEYS)
    found = relation_in(design, "batch", "condition")
    assert found == expected
    assert design["block"] == block
    assert any(said in sentence for sentence in design["sentences"])
    assert design["warnings"] == []
    assert relation_in(design, "cell_type", "condition") == "partly crossed"


def test_a_condition_of_one_sample_is_warned_about():
    (warning,) = describe_design(study("aaab", "wwxx"), KEYS)["warnings"]
    assert warning.startswith(
        "condition_key 'condition' has one sample of 'b': no test over samples can tell"
    )


def test_columns_that_would_be_blocks_are_named_and_those_that_blocks_divide_are_not():
    obs = study("abababab", "wwxxyyzz")
    obs["sex"] = obs["batch"].map({"w": "f", "x": "f", "y": "m", "z": "m"})
    unnamed = KEYS.model_copy(update={"batch_key": None})
    assert describe_design(obs, unnamed)["candidates"] == []
    design = describe_design(obs.drop(columns="batch"), unnamed)
    assert design["block"] is None
    assert design["candidates"] == ["sex"]
    assert (
        "'sex' crosses the conditions as well: block_key=sex would compare within it" in design["sentences"]
    )


def test_what_conditions_are_compared_within_follows_block_key():
    design = describe_design(study("abababab", "wwxxyyzz"), KEYS)
    given_keys, off = (KEYS.model_copy(update={"block_key": block}) for block in ("donor", ""))
    assert [block_of(design, keys) for keys in (KEYS, given_keys, off)] == ["batch", "donor", None]
    assert comparison_sentence(design, KEYS) == (
        "conditions are compared within 'batch' (found in the data; block_key: \"\" switches it off)"
    )
    assert comparison_sentence(design, given_keys) == "conditions are compared within 'donor' (by block_key)"
    assert comparison_sentence(design, off) == "conditions are compared without blocks, as block_key is empty"
    nested = describe_design(study("aabb", "wxyz"), KEYS)
    assert comparison_sentence(nested, KEYS).endswith("as nothing pairs samples up")
    without = replicates_of(batch_key="batch", label_key="cell_type")
    assert comparison_sentence(describe_design(study("aabb", "wxyz"), without), without) == ""
