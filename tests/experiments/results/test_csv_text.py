"""CSV for spreadsheets."""

from __future__ import annotations

from experiments.results.csv_text import csv_text


def test_what_begins_like_a_formula_is_text() -> None:
    rows = [
        ["layer", "mean"],
        ["=HYPERLINK(1)", -0.5],
        ["+1", 3],
        ["@x", None],
        ["-2+3", True],
        ["conv1", 1e-9],
    ]
    assert csv_text(rows).splitlines() == [
        *("layer,mean", "'=HYPERLINK(1),-0.5", "'+1,3", "'@x,", "'-2+3,True", "conv1,1e-09")
    ]
