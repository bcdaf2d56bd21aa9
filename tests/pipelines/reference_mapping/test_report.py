from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.report import summarize_mapping, tabulate
from scvi_downstream.study.defaults import defaults_of

FACTS = {
    "reference": "atlas/scvi",
    "n_reference": 500,
    "n_query": 4,
    "n_genes": 100,
    "n_shared_genes": 90,
    "label_key": "line",
    "types": ["B", "T"],
    "encodes_batches": True,
    "n_new_weights": 7,
    "notes": [],
}


def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mapped_cell_type": pd.Categorical(["B", "T", "unknown", "unknown"]),
            "mapped_nearest_type": pd.Categorical(["B", "B", "T", "B"]),
            "mapped_probability": [0.9, 0.8, 0.4, 0.95],
            "mapped_unlike": [False, False, False, True],
        },
        index=["q0", "q1", "q2", "q3"],
    )


def batches(shift: float = 2.0, n_reference: int = 2) -> pd.DataFrame:
    rows = [("reference", f"r{i}", 50, 2.0, 1.0) for i in range(n_reference)]
    return pd.DataFrame(
        [*rows, ("query", "q", 4, shift, 1.0)],
        columns=["origin", "batch", "n_cells", "shift", "median_deviation"],
    )


def summarize(
    cells: pd.DataFrame, batches: pd.DataFrame, facts: dict[str, Any], labels: pd.Series | None
) -> dict[str, Any]:
    obs = pd.DataFrame(index=cells.index) if labels is None else labels.to_frame()
    keys = Keys() if labels is None else Keys(label_key=labels.name)
    options = defaults_of(ReferenceMappingOptions)
    return summarize_mapping(SimpleNamespace(obs=obs), cells, batches, facts, keys, options)[0]


def test_accuracy_is_of_cells_whose_label_the_reference_knows() -> None:
    labels = pd.Series(["B", "T", "T", "NK"], index=["q0", "q1", "q2", "q3"], name="line")
    summary = summarize(cells(), batches(), FACTS, labels)
    assert summary["n_compared"] == 3
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["accuracy_called"] == pytest.approx(1 / 2)
    assert summary["unlike_absent"] == 1.0
    assert summary["unlike_known"] == 0.0
    assert (
        "Of 3 cells whose own label the reference knows, 66.7% lie nearest to it" in summary["sentences"][1]
    )
    assert "of 1 cell whose label it does not know, 100.0% are flagged" in summary["sentences"][1]


def test_own_and_transferred_labels_are_counted() -> None:
    labels = pd.Series(["B", "T", "T", "NK"], index=["q0", "q1", "q2", "q3"], name="line")
    table = tabulate(cells(), labels, ["B", "T"]).set_index(["label", "mapped"])
    assert table["n"].to_dict() == {("B", "B"): 1, ("NK", "unknown"): 1, ("T", "T"): 1, ("T", "unknown"): 1}
    assert table.loc[("T", "T"), "share"] == 0.5
    assert not table.loc[("NK", "unknown"), "in_reference"]
    assert table.loc[("NK", "unknown"), "n_unlike"] == 1
    assert tabulate(cells(), None, ["B"]).empty


def test_sentences_are_honest_about_flags_and_surgery() -> None:
    said = summarize(cells(), batches(), FACTS, None)["sentences"]
    assert "2 (50.0%) got one of its 2 labels in 'line'" in said[0]
    assert "not guaranteed for another technology" in said[1]
    assert "surgery trained 7 weights of the query's own categories" in said[2]
    said = summarize(cells(), batches(9.0, 1), FACTS | {"encodes_batches": False}, None)
    assert "a shift 4.5 times as large" in said["sentences"][1]
    assert "the reference is one batch" in said["sentences"][1]
    assert "does not see batches" in said["sentences"][2]


def test_without_labels_or_common_names_the_sentence_says_so() -> None:
    unlabelled = cells()[["mapped_unlike"]]
    summary = summarize(unlabelled, batches(), FACTS | {"types": [], "n_new_weights": 0}, None)
    assert "no labels to transfer" in summary["sentences"][0]
    assert "used as it is" in summary["sentences"][-1]
    others = pd.Series(["a", "a", "b", "unknown"], index=cells().index, name="line")
    summary = summarize(cells(), batches(), FACTS, others)
    assert summary["accuracy"] is None
    assert "cannot be checked" in summary["sentences"][1]
    assert np.isfinite(summary["shift_ratio"])
