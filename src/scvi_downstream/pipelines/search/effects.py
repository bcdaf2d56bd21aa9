"""Which options go with the score of the finished trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scvi_downstream.models.search_records import TrialRecord
from scvi_downstream.statistics.association import associate

MIN_TRIALS = 8
_COLUMNS = ["option", "kind", "n", "rho", "eta2", "effect", "p", "p_adjusted"]


def option_effects(
    records: Sequence[TrialRecord], current: Mapping[str, Any], objective: str
) -> list[dict[str, Any]]:
    """Association of every varied option with an objective, the strongest first.

    Each option alone: Spearman's correlation for numbers, Kruskal–Wallis for words. It is no effect of the option
    where another one was varied along, and finished trials are a selection where bad ones are stopped.

    Parameters
    ----------
    records
        Finished trials; with fewer than 8 nothing is tested.
    current
        The varied options' values in the model as it is configured.
    objective
        Name of a score.

    Returns
    -------
    ``option``, ``kind``, ``n`` trials, ``rho`` (numbers) or ``eta2`` (words), ``effect`` (their size), ``p``,
    ``p_adjusted`` (Benjamini–Hochberg over options).
    """
    if len(records) < MIN_TRIALS:
        return []
    scores = pd.DataFrame({objective: [record.scores[objective] for record in records]})
    drawn = pd.DataFrame(
        {name: [record.changes.get(name, value) for record in records] for name, value in current.items()}
    )
    table = associate(scores.astype(float), drawn).rename(columns={"covariate": "option"})
    return table.sort_values("p", kind="stable")[_COLUMNS].to_dict("records")
