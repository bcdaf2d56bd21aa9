"""Who is given, who is held out, who is left out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.label_split import (
    hold_out_labels,
    join_rounds,
    labels_seen,
    require_same_cells,
    split_labels,
    transferred_types,
    why_not_transferable,
)
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of


def labels(sizes, n_unknown=0):
    names = [name for name, size in sizes.items() for _ in range(size)] + ["unknown"] * n_unknown
    shuffled = np.random.default_rng(0).permutation(names)
    return pd.Series(pd.Categorical(shuffled), index=[f"c{i}" for i in range(len(names))], name="cell_type")


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1),
    share=st.floats(0.01, 0.99),
    fewest=st.integers(2, 8),
    n_unknown=st.integers(0, 9),
)
def test_every_type_keeps_two_cells_and_holds_out_its_share(sizes, share, fewest, n_unknown):
    options = defaults_of(AnnotationOptions, held_out_share=share, min_cells_per_type=fewest)
    split = split_labels(labels(sizes, n_unknown), options, 0)
    roles = pd.crosstab(split["label"], split["role"]).reindex(
        columns=["given", "held_out", "unknown", "left_out"], fill_value=0
    )
    for name, size in sizes.items():
        found = roles.loc[name]
        if size < fewest:
            assert found["left_out"] == size
            continue
        assert found["given"] >= 2
        assert found["given"] + found["held_out"] == size
        assert abs(found["held_out"] - share * size) <= 1.5 or found["given"] == 2
        assert found["held_out"] >= (size > 2)
    assert (split["role"] == "unknown").sum() == n_unknown


def test_the_seed_decides():
    given = labels({"a": 50, "b": 30})
    one, again, other = (split_labels(given, defaults_of(AnnotationOptions), seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one["role"].equals(other["role"])


def test_what_the_methods_see():
    split = split_labels(labels({"a": 20, "b": 20, "rare": 3}, 5), defaults_of(AnnotationOptions), 0)
    first = labels_seen(split, held_out_too=False)
    second = labels_seen(split, held_out_too=True)
    assert transferred_types(split) == ["a", "b"]
    assert first.notna().equals(split["role"] == "given")
    assert second.notna().equals(split["role"].isin(["given", "held_out"]))
    assert list(second.cat.categories) == ["a", "b"]
    ones = pd.DataFrame(1.0, index=split.index, columns=["b", "a"])
    joined = join_rounds(split, ones, 2 * ones)
    assert ((joined["a"] == 2) == (split["role"] == "unknown")).all()


def test_too_few_types_are_a_reason_and_rare_ones_a_warning(caplog):
    split = split_labels(labels({"a": 20, "rare": 3}), defaults_of(AnnotationOptions), 0)
    assert why_not_transferable(split) == (
        "of the types of the 23 labelled cells only 'a' has enough cells, and at least 2 types must"
    )
    assert "1 types with fewer than 5 labelled cells are not transferred: rare (3)" in caplog.text


def test_wrong_keys_and_other_cells_are_named():
    counts = SimpleNamespace(obs=pd.DataFrame(columns=["cell_type", "batch"]))
    with pytest.raises(InputError, match="label_key is empty"):
        hold_out_labels(counts, Keys(), defaults_of(AnnotationOptions), 0)
    with pytest.raises(InputError, match="label_key 'cel_type' is not in obs of the counts; the closest is"):
        hold_out_labels(counts, Keys(label_key="cel_type"), defaults_of(AnnotationOptions), 0)
    split = split_labels(labels({"a": 20, "b": 20}), defaults_of(AnnotationOptions), 0)
    turned = split.iloc[::-1]
    assert require_same_cells(turned, split, "x").equals(split)
    with pytest.raises(InputError, match="the latent holds 30 cells, the labels 40, of which 10 are not"):
        require_same_cells(split.iloc[:30], split, "the latent")
