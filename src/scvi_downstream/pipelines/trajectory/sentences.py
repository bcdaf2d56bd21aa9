"""What the trajectories say, in sentences, and what speaks against them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.parameters import Keys, TrajectoryOptions

from .known_time import known_time
from .time_confounding import confounding_sentences

BELIEVABLE = 0.7
"""Rank correlation below which orders are said to disagree."""
PRETTY = {
    "pseudotime": "the consensus",
    "dpt_pseudotime": "diffusion pseudotime",
    "slingshot_pseudotime": "Slingshot",
    "slingshot_consensus": "Slingshot over clusterings",
    "graph_pseudotime": "the principal graph",
    "monocle_r_pseudotime": "Monocle in R",
}


def summarize(
    observations: pd.DataFrame,
    trajectory: pd.DataFrame,
    trajectory_start: dict[str, Any],
    facts: dict[str, dict[str, Any]],
    agreement: pd.DataFrame,
    stability: pd.DataFrame,
    time: pd.DataFrame | None,
    primary: str,
    keys: Keys,
    options: TrajectoryOptions,
    *,
    corrected: bool,
) -> dict[str, Any]:
    """Numbers of the trajectories and sentences: the verdict first, then what limits it.

    Parameters
    ----------
    observations
        obs of the counts, for the time and the batch.
    trajectory
        Orders and fates by cell.
    trajectory_start
        Where it starts.
    facts
        ``diffusion``, ``lineages``, ``graph``, ``fates`` and ``trends``, each with its ``sentences``.
    agreement
        Of the orders, named ``<representation> <order>``.
    stability
        One row a method.
    time
        Agreement with known time; ``None``: it is not known.
    primary
        Name of the primary model.
    keys, options
        The batch and the time.
    corrected
        Whether the primary model corrects for the batch.
    """
    own = agreement[_are_of(agreement["first"], primary) & _are_of(agreement["second"], primary)]
    basic = own[~_share_method(own)]
    lowest = basic.loc[basic["spearman"].idxmin()] if basic["spearman"].notna().any() else None
    sentences = [_verdict(basic, lowest, stability)]
    if time is not None:
        sentences += _on_time(time, observations, keys, options, corrected=corrected)
    sentences += facts["lineages"]["sentences"] + _stability(stability)
    sentences += list(trajectory_start["sentences"]) + facts["diffusion"]["sentences"] + _dependence(facts)
    sentences += facts["graph"]["sentences"] + facts["fates"]["sentences"] + facts["trends"]["sentences"]
    return {
        "n_cells": len(trajectory),
        "n_ordered": int(trajectory["pseudotime"].notna().sum()),
        "n_lineages": len(facts["lineages"]["lineages"]),
        "n_loops": sum(bool(loop["is_loop"]) for loop in facts["lineages"]["loops"]),
        "n_graph_tips": facts["graph"]["n_tips"],
        "n_terminal_states": sum(name.startswith("fate_") for name in trajectory)
        - int("fate_entropy" in trajectory),
        "agreement": float(basic["spearman"].median()) if len(basic) else None,
        "stability": {row.method: row.spearman for row in stability.itertuples() if pd.notna(row.spearman)},
        "spearman_with_time": None if time is None else _best_by_method(time, primary),
        "sentences": list(dict.fromkeys(sentences)),
    }


def _are_of(names: pd.Series, representation: str) -> pd.Series:
    return names.str.startswith(f"{representation} ")


def _share_method(pairs: pd.DataFrame) -> pd.Series:
    """Pairs that say little: the consensus with its parts, Slingshot with Slingshot over clusterings."""
    methods = [pairs[side].str.split(" ").str[-1] for side in ("first", "second")]
    consensus = (methods[0] == "pseudotime") | (methods[1] == "pseudotime")
    slingshot = methods[0].str.startswith("slingshot") & methods[1].str.startswith("slingshot")
    return consensus | slingshot


def _verdict(basic: pd.DataFrame, lowest: Any, stability: pd.DataFrame) -> str:
    if lowest is None:
        return "no two orders of the cells can be compared, so nothing speaks for this trajectory"
    median = basic["spearman"].median()
    words = (
        f"the methods agree on the order of the cells (median rank correlation {median:.2f}, lowest "
        f"{lowest['spearman']:.2f})"
        if lowest["spearman"] >= BELIEVABLE
        else f"the methods do not agree on the order of the cells (median rank correlation {median:.2f}; "
        f"{_named(lowest['first'])} and {_named(lowest['second'])} {lowest['spearman']:.2f})"
    )
    unstable = stability[stability["verdict"].isin(["unstable", "failed"])]
    if len(unstable):
        named = " and ".join(PRETTY[name] for name in unstable["method"])
        words += f", and {named} {'differ' if len(unstable) > 1 else 'differs'} between halves of the cells"
    believable = lowest["spearman"] >= BELIEVABLE and unstable.empty
    return words + ("" if believable else ": do not rest a conclusion on pseudotime alone")


def _named(order: str) -> str:
    return PRETTY.get(order.rsplit(" ", 1)[-1], order)


def _on_time(
    time: pd.DataFrame, observations: pd.DataFrame, keys: Keys, options: TrajectoryOptions, *, corrected: bool
) -> list[str]:
    best = time.iloc[0]
    within = best.get("within_batch_spearman")
    inside = f", {within:.2f} within batches" if within is not None and pd.notna(within) else ""
    sentences = [
        f"with the known '{options.time_key}' the best order is {PRETTY[best['method']]} on {best['representation']} "
        f"(Spearman {best['spearman']:.2f}, 95 % interval {best['low']:.2f} to {best['high']:.2f}{inside}); it was "
        f"picked among {len(time)} by that time, so take the consensus where time is not known"
    ]
    if keys.batch_key:
        known = known_time(observations, str(options.time_key)).rename(options.time_key)
        sentences += confounding_sentences(known, observations[keys.batch_key], corrected=corrected)
    return sentences


def _best_by_method(time: pd.DataFrame, primary: str) -> dict[str, float]:
    own = time[(time["representation"] == primary) & time["spearman"].notna()]
    return {str(row.method): float(row.spearman) for row in own.itertuples()}


def _stability(stability: pd.DataFrame) -> list[str]:
    known = stability[stability["spearman"].notna()]
    if known.empty:
        return []
    each = ", ".join(f"{PRETTY[row.method]} {row.spearman:.2f} ({row.verdict})" for row in known.itertuples())
    return [f"orders learnt on disjoint halves of the cells agree by rank: {each}"]


def _dependence(facts: dict[str, dict[str, Any]]) -> list[str]:
    dependence = facts["diffusion"]["root_dependence"]
    clusterings = facts["lineages"]["clusterings"]
    sentences = []
    if dependence["n_other_roots"] and dependence["lowest"] < BELIEVABLE:
        sentences.append(
            "diffusion pseudotime depends on which start cell is the root: another one gives an order that correlates "
            f"by {dependence['lowest']:.2f}"
        )
    if clusterings["agreement"] < BELIEVABLE:
        sentences.append(
            f"Slingshot depends on how cells are clustered: orders over {clusterings['n']} clusterings agree by "
            f"{clusterings['agreement']:.2f} in the median"
        )
    return sentences
