"""Trajectories in the report."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.trajectory.agreement import confounding_sentences
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions, representations
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import listed

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
            dataset="trajectory_3d_page",
            caption="Pseudotime and the principal graph in three dimensions.",
            file="trajectory_3d.html",
        ),
        Item(
            dataset="time_agreement_figure",
            caption="Rank correlation of every pseudotime with known time, with 95 % bootstrap intervals, over all "
            "cells and within batches.",
        ),
        Item(
            dataset="trajectory_time",
            caption="The same in numbers.",
            file=OUTPUT + "trajectory_time.csv",
            folded=True,
        ),
        Item(
            dataset="trajectory_agreement_figure",
            caption="Rank correlation between the pseudotimes of methods and representations.",
        ),
        Item(
            dataset="trajectory_stability",
            caption="Whether halves of the cells give the order of all cells.",
            file=OUTPUT + "trajectory_stability.csv",
        ),
        Item(
            dataset="fates_figure",
            caption="Probability of every cell to reach each terminal state (CellRank), and genes that go with it.",
        ),
        Item(
            dataset="fate_drivers",
            caption="Genes whose expression goes with the probability of a fate.",
            file=OUTPUT + "fate_drivers.csv",
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
        Item(
            dataset="trend_tests",
            caption="Every gene along every lineage: range of the fit, where it peaks, and the test against constant "
            "expression. Pseudotime was learnt from the same counts, so p-values are too small; rank by range.",
            file=OUTPUT + "trend_tests.csv",
            groups=("lineage",),
            folded=True,
        ),
        Item(
            dataset="{primary}.lineages",
            caption="Slingshot's tree and lineages, and how often resampled cells give each edge.",
            file=OUTPUT + "{model}/lineages.json",
            folded=True,
        ),
        Item(
            dataset="trajectory_summary",
            caption="Numbers of the trajectories, in words.",
            file=OUTPUT + "trajectory_summary.json",
            columns=names(""),
            folded=True,
        ),
    ),
)


_PSEUDOTIMES = {
    "dpt": "diffusion pseudotime",
    "slingshot": "Slingshot's pseudotime",
    "principal_graph": "the principal graph's pseudotime",
}


def describe_trajectory(study: Any, keys: Keys, graph: Study) -> str:
    """How trajectories were learnt, compared and tested."""
    if "trajectory" not in graph.analyses:
        return ""
    options = study.trajectory
    text = [
        f"Trajectories were learnt on {listed([f'`{name}`' for name in representations(graph)])}, from "
        f"{_start(options)}. Clusters (`{options.clustering}`; Leiden clusters of its own graph where a representation "
        f"has none) were connected by PAGA [@wolf2019], and cells ordered by diffusion pseudotime [@haghverdi2016] on "
        f"{options.diffusion_components} diffusion components, both with {named('scanpy')} [@wolf2018].",
        "Slingshot [@street2018] was run in this project's own implementation: a minimum spanning tree of the clusters "
        "by covariance-scaled distance, and simultaneous principal curves; the frequency of each edge of the tree is "
        f"over {options.slingshot.bootstraps} bootstrap samples of the cells.",
        "A principal graph was learnt as in Monocle 3 [@cao2019] by SimplePPT [@mao2015] "
        f"({named('simpleppt')}), its nodes placed anew at half the scale and its tips extended to cells beyond "
        "them, and pseudotime measured along it.",
        f"Fates are those of CellRank [@weiler2024] ({named('cellrank')}): its pseudotime kernel combined with the "
        "graph's connectivities, terminal states by GPCCA [@reuter2019], probabilities to be absorbed in them, and "
        "driver genes by the correlation of these with log-normalised expression.",
        f"Genes along {_PSEUDOTIMES[options.trends.pseudotime]} were fitted by negative binomial regression on a "
        f"spline basis with {options.trends.n_knots} knots, as in tradeSeq [@vandenberge2020], and tested against "
        f"constant expression with Benjamini-Hochberg correction [@benjamini1995] at an FDR of {options.trends.fdr:g}; "
        "these p-values do not account for pseudotime having been learnt from the same counts.",
        "Methods and representations were compared by Spearman's rank correlation [@spearman1904], and each with the "
        f"orders of {options.stability_replicates} random divisions of the cells into halves.",
    ]
    if options.monocle_r:
        text.append("Beside these, cells were ordered by DDRTree of Monocle 2 [@qiu2017] in R.")
    if options.time_key:
        text.append(f"`{options.time_key}` is the known time, with 95 % bootstrap intervals{_batches(keys)}.")
    return " ".join(text)


def _batches(keys: Keys) -> str:
    return f"; correlations were also computed within `{keys.batch_key}`" if keys.batch_key else ""


def _start(options: TrajectoryOptions) -> str:
    if options.start_cell:
        return f"the cell `{options.start_cell}`"
    if options.start_cluster:
        return f"the cells of `{options.start_cluster}`"
    if options.start_gene:
        return f"the cells with the highest expression of `{options.start_gene}`"
    return f"the earliest cells by `{options.time_key}`"


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
