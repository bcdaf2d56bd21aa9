"""The verdict on batch structure, in sentences made of its numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.parameters import BatchEffectOptions, Keys

from .judgement import CLASSIFIERS, judge
from .sentences import (
    caveat_sentences,
    confounding_sentences,
    known_keys,
    separation_sentence,
    variance_sentence,
    verdict_sentence,
)

_METRICS = ("kbet", "kbet_mixed", "kbet_within_labels", "ilisi", "ilisi_mixed", "batch_asw", "bras", "pcr")


def summarize(
    batch_effects: pd.DataFrame,
    batch_variance: pd.DataFrame,
    batch_genes: pd.DataFrame,
    batch_by_label: pd.DataFrame,
    preparation_summary: dict[str, Any],
    keys: Keys,
    options: BatchEffectOptions,
) -> dict[str, Any]:
    """Numbers of all tables, ``verdict`` in a word, and ``sentences``.

    Parameters
    ----------
    batch_effects, batch_variance, batch_genes, batch_by_label
        The pipeline's tables.
    preparation_summary
        For its warnings of confounding.
    keys
        The study's obs columns.
    options
        ``fdr`` is the level of all tests.
    """
    stages = {row["stage"]: row for row in batch_effects.to_dict("records")}
    keys = known_keys(keys, stages["before"])
    verdict = judge(stages, options.fdr)
    called = batch_genes["batch_p_adjusted"] <= options.fdr
    vanished = batch_by_label[batch_by_label["vanishes"].astype(bool)]
    sentences = [
        verdict_sentence(verdict, stages, keys, options),
        variance_sentence(batch_variance, batch_genes, keys, options),
        separation_sentence(batch_by_label, keys),
        " ".join(
            [
                *confounding_sentences(preparation_summary, stages["before"], batch_variance, keys),
                *caveat_sentences(stages, batch_genes, keys, options),
            ]
        ),
    ]
    numbers = {stage: _finite({name: row[name] for name in _named(row)}) for stage, row in stages.items()}
    shares = batch_variance.pivot(index="representation", columns="source", values="share")
    return {
        "verdict": verdict,
        "n_cells": int(stages["before"]["n_cells"]),
        "n_batches": int(stages["before"]["n_batches"]),
        **numbers,
        "variance": {name: _finite(row) for name, row in shares.to_dict("index").items()},
        "n_genes_with_batch": int(called.sum()),
        "n_labels_vanished": int(vanished.loc[vanished["stage"] == "after", "label"].nunique()),
        "sentences": [sentence for sentence in sentences if sentence],
    }


def _named(row: dict[str, Any]) -> list[str]:
    tests = [
        f"{classifier}_{part}"
        for classifier in CLASSIFIERS
        for part in ("auc", "null_mean", "null_sd", "p", "permutations")
    ]
    return [*_METRICS, *tests]


def _finite(values: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if pd.notna(value)}
