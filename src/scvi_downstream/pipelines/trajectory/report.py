"""Trajectories in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.trajectory.agreement import OF_R, ORDERS, confounding_sentences
from scvi_downstream.pipelines.trajectory.fates import fate_columns
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.report.sections import OUTPUT, Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.slow_types import AnnData

SECTION = Section(
    "Trajectories",
    "Cells in the order of a process: diffusion pseudotime, Slingshot's lineages through clusters and a principal "
    "graph through the cells, on the latent of the primary model and beside it on other representations. Pseudotime "
    "has no unit and no direction but the one that the start gives it; methods that disagree, and orders that halves "
    "of the cells do not share, are not to be believed.",
    (
        Item(
            dataset="trajectory_figure",
            caption="Pseudotime on the UMAP, with what each method has learned: PAGA's edges, Slingshot's curves, the "
            "principal graph; the star is the start.",
        ),
        Item(
            dataset="time_agreement_figure",
            caption="Rank correlation of every pseudotime with known time, with 95 % bootstrap intervals, over all "
            "cells and within batches.",
        ),
        result("trajectory_time.csv", "The same in numbers.", folded=True),
        Item(
            dataset="trajectory_agreement_figure",
            caption="Rank correlation between the pseudotimes of methods and representations.",
        ),
        result("trajectory_stability.csv", "Whether halves of the cells give the order of all cells."),
        Item(
            dataset="fates_figure",
            caption="Each cell's probability to reach each terminal state, as in CellRank, and genes that go with it.",
        ),
        result(
            "fate_drivers.csv",
            "Genes whose expression goes with the probability of a fate. Cells are taken as independent, so p-values "
            "are not calibrated where donors differ: 25 % are below 0.05 without an effect.",
            groups=("terminal_state",),
            folded=True,
        ),
        Item(
            dataset="trend_heatmap_figure",
            caption="Genes that change most along pseudotime, in the order of their peaks.",
        ),
        Item(
            dataset="gene_trends_figure",
            caption="Genes with the largest range along pseudotime: fitted means with 95 % intervals.",
        ),
        result(
            "trend_tests.csv",
            "Every gene along every lineage: range of the fit, where it peaks, and the test against constant "
            "expression. Pseudotime was learnt from the same counts, so p-values are too small (along one of noise "
            "23 % are below 0.05, as where donors lie at different places); rank by range.",
            groups=("lineage",),
            folded=True,
        ),
        result(
            "trend_contrasts.parquet",
            "Genes whose course differs between two lineages after they part: log2 difference where the curves are "
            "farthest apart. The lineages were told apart by the same counts, so p-values are too small.",
            groups=("lineage", "other"),
            folded=True,
        ),
        Item(
            dataset="{primary}.lineages",
            caption="Slingshot's tree and lineages, and how often resampled cells give each edge.",
            file=OUTPUT + "{model}/lineages.json",
            folded=True,
        ),
        result(
            "trajectory_summary.json",
            "Numbers of the trajectories, in words.",
            columns=names(""),
            folded=True,
        ),
    ),
)


BELIEVABLE = 0.7  # Rank correlation below which orders are said to disagree.
# Order → its name in a sentence.
METHODS = {
    "pseudotime": "the consensus",
    "dpt_pseudotime": "diffusion pseudotime",
    "slingshot_pseudotime": "Slingshot",
    "slingshot_consensus": "Slingshot over clusterings",
    "graph_pseudotime": "the principal graph",
    "monocle_r_pseudotime": "Monocle 2 in R",
}


def summarize_trajectory(
    counts: AnnData,
    trajectory: pd.DataFrame,
    trajectory_start: dict[str, Any],
    diffusion_facts: dict[str, Any],
    lineages: dict[str, Any],
    graph_facts: dict[str, Any],
    fate_facts: dict[str, Any],
    trend_facts: dict[str, Any],
    agreement: pd.DataFrame,
    stability: pd.DataFrame,
    primary: str,
    spec: dict[str, Any],
    keys: Keys,
    options: TrajectoryOptions,
    time: pd.DataFrame | None = None,
    monocle_r_versions: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Numbers of the trajectories and sentences: the verdict first, then what limits it.

    Parameters
    ----------
    counts, trajectory, trajectory_start
        ``obs`` holds the time and the batch; orders and fates by cell; where it starts.
    diffusion_facts, lineages, graph_facts, fate_facts, trend_facts
        What each method found, with its ``sentences``.
    agreement, stability
        Rank correlation of pairs of orders, which are named ``<representation> <order>``; one row a method.
    primary, spec
        Name of the primary model, and whether it corrects for the batch (``correct_batch``).
    keys, options
        The batch and the time.
    time, monocle_r_versions
        Agreement with known time, the best order first; versions of R and its package. ``None``: there is none.
    """
    pairs = _pairs_of_methods(agreement, primary)
    sentences = [_verdict(pairs, stability)]
    if time is not None:
        sentences.append(_agreement_with_time(time, options))
        if keys.batch_key:
            hours = known_time(counts.obs, str(options.time_key)).rename(options.time_key)
            corrected = bool(spec["correct_batch"])
            sentences += confounding_sentences(hours, counts.obs[keys.batch_key], corrected=corrected)
    sentences += _agreement_of_monocle(agreement, time, primary, options)
    sentences += lineages["sentences"] + _stability(stability)
    sentences += trajectory_start["sentences"] + diffusion_facts["sentences"]
    sentences += _dependence_on_choices(diffusion_facts["root_dependence"], lineages["clusterings"])
    sentences += graph_facts["sentences"] + fate_facts["sentences"] + trend_facts["sentences"]
    by_method = None
    if time is not None:
        own = time[time["representation"] == primary].dropna(subset="spearman")
        by_method = own.set_index("method")["spearman"].to_dict()
    return {
        "n_cells": len(trajectory),
        "n_ordered": int(trajectory["pseudotime"].notna().sum()),
        "n_lineages": len(lineages["lineages"]),
        "n_loops": sum(loop["is_loop"] for loop in lineages["loops"]),
        "n_graph_tips": graph_facts["n_tips"],
        "n_terminal_states": len(fate_columns(trajectory)),
        "agreement": float(pairs["spearman"].median()) if pairs["spearman"].notna().any() else None,
        "lowest_agreement": float(pairs["spearman"].min()) if pairs["spearman"].notna().any() else None,
        "stability": stability.dropna(subset="spearman").set_index("method")["spearman"].to_dict(),
        "spearman_with_time": by_method,
        "software": monocle_r_versions or {},
        "sentences": list(dict.fromkeys(sentences)),
    }


def _pairs_of_methods(agreement: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Pairs of orders of the primary model that share no method.

    The consensus agrees with its parts, and Slingshot with Slingshot over clusterings, whatever the cells are.
    """
    orders = agreement[["first", "second"]]
    own = orders.apply(lambda names: names.str.startswith(f"{primary} ")).all(axis=1)
    methods = orders.apply(lambda names: names.str.split(" ").str[-1])
    of_consensus = (methods == "pseudotime").any(axis=1)
    of_slingshot = methods.apply(lambda names: names.str.startswith("slingshot")).all(axis=1)
    return agreement[own & ~of_consensus & ~of_slingshot]


def _verdict(pairs: pd.DataFrame, stability: pd.DataFrame) -> str:
    if pairs["spearman"].isna().all():
        return "no two orders of the cells can be compared, so nothing speaks for this trajectory"
    median, lowest = pairs["spearman"].median(), pairs.loc[pairs["spearman"].idxmin()]
    agree = lowest["spearman"] >= BELIEVABLE
    if agree:
        text = (
            f"the methods agree on the order of the cells (median rank correlation {median:.2f}, lowest "
            f"{lowest['spearman']:.2f})"
        )
    else:
        first, second = (METHODS[lowest[side].rsplit(" ", 1)[-1]] for side in ("first", "second"))
        text = (
            f"the methods do not agree on the order of the cells (median rank correlation {median:.2f}; "
            f"{first} and {second} {lowest['spearman']:.2f})"
        )
    unstable = stability.loc[stability["verdict"].isin(["unstable", "failed"]), "method"].map(METHODS)
    if len(unstable):
        differ = "differ" if len(unstable) > 1 else "differs"
        text += f", and {' and '.join(unstable)} {differ} between halves of the cells"
    believable = agree and unstable.empty
    return text + ("" if believable else ": do not rest a conclusion on pseudotime alone")


def _agreement_with_time(time: pd.DataFrame, options: TrajectoryOptions) -> str:
    best = time.iloc[0]
    within = best["within_batch_spearman"]
    of = "" if best["method"] == "monocle_r_pseudotime" else f" on {best['representation']}"
    inside = f", {within:.2f} within batches" if pd.notna(within) else ""
    return (
        f"with the known '{options.time_key}' the best order is {METHODS[best['method']]}{of} "
        f"(Spearman {best['spearman']:.2f}, 95 % interval {best['low']:.2f} to {best['high']:.2f}{inside}); it was "
        f"picked among {len(time)} by that time, so take the consensus where time is not known"
    )


def _agreement_of_monocle(
    agreement: pd.DataFrame, time: pd.DataFrame | None, primary: str, options: TrajectoryOptions
) -> list[str]:
    """Whether R's order, where there is one, is that of the primary model's consensus and of its parts."""
    of_r = agreement[agreement["second"] == OF_R].set_index("first")["spearman"]
    consensus, *parts = (of_r.get(f"{primary} {name}", np.nan) for name in ("pseudotime", *ORDERS))
    if not np.isfinite(consensus):
        return []
    agrees = "agrees" if consensus >= BELIEVABLE else "does not agree"
    each = ", ".join(f"{METHODS[name]} {rho:.2f}" for name, rho in zip(ORDERS, parts, strict=True))
    text = f"Monocle 2 in R {agrees} with the consensus (rank correlation {consensus:.2f}; {each})"
    if time is not None:
        known = time.loc[time["method"] == "monocle_r_pseudotime", "spearman"]
        text += f", and correlates with the known '{options.time_key}' by {known.iloc[0]:.2f}"
    return [text]


def _stability(stability: pd.DataFrame) -> list[str]:
    known = stability.dropna(subset="spearman")
    if known.empty:
        return []
    each = ", ".join(
        f"{METHODS[row.method]} {row.spearman:.2f} ({row.verdict})" for row in known.itertuples()
    )
    return [f"orders learnt on disjoint halves of the cells agree by rank: {each}"]


def _dependence_on_choices(roots: dict[str, Any], clusterings: dict[str, Any]) -> list[str]:
    """What the order would be with another root or other clusters, where that matters."""
    sentences = []
    if roots["n_other_roots"] and roots["lowest"] < BELIEVABLE:
        sentences.append(
            "diffusion pseudotime depends on which start cell is the root: another one gives an order that correlates "
            f"by {roots['lowest']:.2f}"
        )
    if clusterings["agreement"] < BELIEVABLE:
        sentences.append(
            f"Slingshot depends on how cells are clustered: orders over {clusterings['n']} clusterings agree by "
            f"{clusterings['agreement']:.2f} in the median"
        )
    return sentences


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """Whether methods agree on an order, and whether halves of the cells give it again."""
    summary, stability = contents.get("trajectory_summary"), contents.get("trajectory_stability")
    if not summary or stability is None:
        return None
    if summary["agreement"] is None:
        return Headline("No two orders of the cells can be compared", Trust.FAILS)
    text = f"Methods order the cells with a median rank correlation of {summary['agreement']:.2f}"
    unstable = stability["verdict"].isin(["unstable", "failed"]).any()
    if unstable:
        text += "; halves of the cells differ"
    if summary["lowest_agreement"] < BELIEVABLE or unstable:
        return Headline(text, Trust.FAILS)
    steady = (stability["verdict"].dropna() == "stable").all()
    return Headline(text, Trust.HOLDS if steady else Trust.UNCERTAIN)
