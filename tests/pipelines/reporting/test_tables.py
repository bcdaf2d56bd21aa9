import math

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.reporting.tables import (
    cell,
    heading,
    number,
    summaries_table,
    summary_table,
    table_view,
)


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.123456, "", "0.123"),
        (12.3456, "", "12.3"),
        (-812.34, "elbo", "\N{MINUS SIGN}812"),
        (123456.0, "", "123,456"),
        (1234567.8, "", "1,234,568"),
        (0.000012345, "", "1.23e-5"),
        (3.2e-12, "wilcoxon_p_adjusted", "3e-12"),
        (0.0, "p_value", "< 1e-300"),
        (0.0, "expected_fdr", "0"),
        (0.0123, "p_value", "0.0123"),
        (0.0, "proportion", "0"),
        (math.nan, "", "\N{EN DASH}"),
        (-math.inf, "", "\N{MINUS SIGN}∞"),
    ],
)
def test_number(value, name, text):
    assert number(value, name) == text


def test_headings_are_words_of_the_field():
    assert heading("lfc_std") == "LFC std"
    assert heading("scib_bio_conservation") == "scIB bio conservation"
    assert heading("best_epoch") == "Best epoch"
    assert heading("Quality X") == "Quality X"


def test_tables_are_cut_by_group():
    table = pd.DataFrame(
        {"grouping": "clusters", "group": np.repeat(["0", "1"], 5), "gene": [f"g{i}" for i in range(10)]}
    )
    view = table_view(table, 2, ("grouping", "group"))
    assert [row[2].text for row in view.rows] == ["g0", "g1", "g5", "g6"]
    assert (view.total, view.groups, view.cut) == (10, 2, True)
    assert not table_view(table).cut


def test_named_index_is_a_column():
    view = table_view(pd.DataFrame({"n": [1]}, index=pd.Index(["a"], name="cell")))
    assert [column.name for column in view.columns] == ["cell", "n"]


def test_cells_sort_by_their_value():
    assert cell(0.00001, "p_value").sort == "1e-05"
    assert cell(math.nan).sort == ""
    assert cell(np.bool_(True)).text == "yes"
    assert cell(None).text == "\N{EN DASH}"
    assert cell(["a", 1.23456]).text == "a, 1.23"


def test_summaries_are_flat_tables():
    nested = {"best": {"value": 1.5, "low": None}, "name": "scvi"}
    assert summary_table(nested)["quantity"].tolist() == ["Best: Value", "Best: Low", "Name"]
    table = summaries_table([("a", {"model": "x", "elbo": 1.0}), ("b", {"scib": {"total": 2.0}})])
    assert table["model"].tolist() == ["a", "b"]
    assert table["scib: total"].tolist()[1] == 2.0
