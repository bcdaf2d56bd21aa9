"""What is held out, and what is said when nothing can be."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.pipelines.prediction.design import choose_conditions, hold_out
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, replicates_of

KEYS = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type")
OPTIONS = defaults_of(PredictionOptions)


def cells(*, n_donors: int = 4, conditions: tuple[str, ...] = ("stim", "ctrl"), each: int = 16) -> AnnData:
    rows = [
        {"donor": f"d{donor}", "condition": condition, "cell_type": kind}
        for donor in range(n_donors)
        for condition in conditions
        for kind, factor in (("A", 3), ("B", 2), ("C", 1))
        for _ in range(each * factor)
    ]
    obs = pd.DataFrame(rows, index=[f"c{i}" for i in range(len(rows))]).astype("category")
    return AnnData(np.ones((len(rows), 2), dtype=np.float32), obs=obs)


def test_target_cells_of_half_of_the_donors_are_held_out() -> None:
    counts = cells()
    split, facts = hold_out(counts, KEYS, OPTIONS, 0)
    held, inputs = split[split["role"] == "held_out"], split[split["role"] == "input"]
    assert facts["held_out"] == "paired samples"
    assert (facts["source"], facts["targets"]) == ("ctrl", ["stim"])
    assert set(held["condition"]) == {"stim"}
    assert set(inputs["condition"]) == {"ctrl"}
    assert set(held["block"]) == set(inputs["block"]) == set(facts["held_out_names"])
    assert len(facts["held_out_names"]) == 2
    in_training = counts.obs[(split["role"] != "held_out").to_numpy()]
    left = in_training[(in_training["condition"] == "stim")]
    assert not set(left["donor"]) & set(facts["held_out_names"])
    assert len(split) == counts.n_obs
    again, _ = hold_out(counts, KEYS, OPTIONS, 0)
    pd.testing.assert_frame_equal(split, again)
    drawn = {tuple(hold_out(counts, KEYS, OPTIONS, seed)[1]["held_out_names"]) for seed in range(8)}
    assert len(drawn) > 1


@pytest.mark.thorough
@pytest.mark.parametrize(("share", "n"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_at_least_one_donor_is_held_out_and_one_left(share: float, n: int) -> None:
    _, facts = hold_out(cells(), KEYS, defaults_of(PredictionOptions, held_out_share=share), 0)
    assert len(facts["held_out_names"]) == n


def test_without_samples_the_most_abundant_types_are_held_out() -> None:
    keys = replicates_of(condition_key="condition", label_key="cell_type")
    split, facts = hold_out(cells(), keys, OPTIONS, 0)
    assert facts["held_out"] == "cell types"
    assert facts["held_out_names"] == ["A", "B"]  # C is left to learn from
    held = split[split["role"] == "held_out"]
    assert set(held["group"]) == {"A", "B"}
    assert set(split.loc[split["role"] == "training", "group"]) == {"C"}
    assert "other types' responses" in facts["description"]
    _, one = hold_out(cells(), keys, defaults_of(PredictionOptions, max_groups=1), 0)
    assert one["held_out_names"] == ["A"]


def test_samples_of_one_condition_each_are_not_paired() -> None:
    counts = cells()
    counts.obs["library"] = (counts.obs["donor"].astype(str) + counts.obs["condition"].astype(str)).astype(
        "category"
    )
    split, facts = hold_out(counts, KEYS.model_copy(update={"sample_key": "library"}), OPTIONS, 0)
    assert facts["held_out"] == "samples"
    roles = split.groupby("role", observed=True)["sample"].agg(set)
    assert not roles["held_out"] & roles["training"]
    assert not roles["input"] & roles["training"]
    assert set(split["block"]) == {"all"}
    assert "differences between samples" in facts["description"]


def test_one_donor_is_too_few_and_types_are_held_out_instead(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, facts = hold_out(cells(n_donors=1), KEYS, OPTIONS, 0)
    assert facts["held_out"] == "cell types"
    assert "fewer than 2 samples of 'donor'" in caplog.text


def test_several_targets_the_most_frequent_first() -> None:
    counts = cells(conditions=("a", "untreated", "b", "c"))
    drop = (counts.obs["condition"] == "a") & (np.arange(counts.n_obs) % 2 == 0)
    counts = counts[~drop.to_numpy()].copy()
    _, facts = hold_out(counts, KEYS, defaults_of(PredictionOptions, max_targets=2), 0)
    assert facts["source"] == "untreated"
    assert facts["targets"] == ["b", "c"]
    _, named = hold_out(counts, KEYS, defaults_of(PredictionOptions, source="b", target=("a",)), 0)
    assert (named["source"], named["targets"]) == ("b", ["a"])


def test_without_a_control_the_most_frequent_condition_is_the_source() -> None:
    values = pd.Series(["x"] * 3 + ["y"] * 5 + ["unknown"] * 9)
    chosen = choose_conditions(values, OPTIONS, "condition")
    assert (chosen.source, chosen.targets) == ("y", ("x",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "ctrll"}, "prediction.source 'ctrll' is not a condition.*closest is 'ctrl'"),
        ({"target": ("stimm",)}, "prediction.target 'stimm' is not a condition.*closest is 'stim'"),
        ({"source": "stim", "target": ("stim",)}, "are both 'stim'"),
        ({"target": ("stim", "ctrl")}, "leave one out as the source"),
    ],
)
def test_wrong_conditions_are_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hold_out(cells(), KEYS, defaults_of(PredictionOptions, **options), 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"condition_key": None}, "condition_key is empty"),
        ({"condition_key": "conditon"}, "condition_key 'conditon' is not in obs; the closest is 'condition'"),
        ({"sample_key": None, "label_key": None}, "sample_key is empty, and label_key is empty"),
    ],
)
def test_what_is_missing_is_named(keys: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hold_out(cells(), KEYS.model_copy(update=keys), OPTIONS, 0)


def test_one_condition_is_nothing_to_predict() -> None:
    with pytest.raises(InputError, match=r"holds 1 condition \(ctrl\)"):
        hold_out(cells(conditions=("ctrl",)), KEYS, OPTIONS, 0)
