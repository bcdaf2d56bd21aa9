"""Phrases: sentences begin with a capital, but for names."""

from __future__ import annotations

import pytest

from scvi_downstream.runtime.words import sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scvi predicts the counts", "scvi predicts the counts."),
        ("scvi's counts", "Scvi's counts."),
        (" two batches ", "Two batches."),
        ("Is it?", "Is it?"),
        ("", ""),
        (" ", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_or_a_name(text: str, said: str) -> None:
    assert sentence(text, names={"scvi": 0}) == said
