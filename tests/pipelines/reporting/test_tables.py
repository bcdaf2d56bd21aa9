import math

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.report.tables import (
    cell,
    heading,
    interval_cells,
    number,
    summaries_table,
    summary_table,
    table_view,
    with_bounds,
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


def test_a_value_and_its_interval_share_a_cell_that_sorts_by_the_value():
    table = pd.DataFrame(
        {
            "scib_total": [0.7123, 0.65, math.nan],
            "scib_total_low": [0.68, math.nan, math.nan],
            "scib_total_high": [0.74, math.nan, math.nan],
            "low": [1, 2, 3],
        }
    )
    view = table_view(table)
    assert [(column.name, column.numeric) for column in view.columns] == [("scib_total", True), ("low", True)]
    assert [row[0].text for row in view.rows] == ["0.71 (0.68\N{EN DASH}0.74)", "0.65", "\N{EN DASH}"]
    assert [row[0].sort for row in view.rows] == ["0.7123", "0.65", ""]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((-512.34, -514.0, -510.7), "−512.3 (−514.0 to −510.7)"),
        ((-512.34, -600.0, -430.0), "−512 (−600 to −430)"),
        ((0.4, -0.21, 1.0), "0.4 (−0.2 to 1.0)"),
        ((0.5, 0.5, 0.5), "0.500"),
        ((0.5, math.nan, math.nan), "0.500"),
    ],
)
def test_digits_follow_the_width_of_the_interval(interval, text):
    assert interval_cells(pd.DataFrame([interval]))[0].text == text.replace("−", "\N{MINUS SIGN}")


def test_all_rows_of_a_column_have_the_digits_of_its_median_interval():
    table = pd.DataFrame([(0.5, 0.4, 0.6), (0.51234, 0.51, 0.52), (0.3, 0.2, 0.4), (0.2, math.nan, math.nan)])
    texts = [each.text for each in interval_cells(table)]
    assert texts == ["0.50 (0.40–0.60)", "0.51 (0.51–0.52)", "0.30 (0.20–0.40)", "0.20"]


def test_chosen_columns_bring_their_intervals():
    table = pd.DataFrame({"a": [1.0], "b": [2.0], "a_low": [0.0], "a_high": [2.0]})
    assert with_bounds(("b", "a", "c"), table) == ["b", "a", "a_low", "a_high"]


def test_infinite_values_sort_as_numbers():
    assert (cell(math.inf).sort, cell(-math.inf).sort) == ("Infinity", "-Infinity")


def test_numbers_among_missing_values_sort_as_numbers():
    table = pd.DataFrame(
        {"n": [None, 12, 3], "word": ["a", None, "b"], "flag": [True, None, False]}, dtype=object
    )
    assert [column.numeric for column in table_view(table).columns] == [True, False, False]
