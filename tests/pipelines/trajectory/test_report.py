"""What the report says of trajectories: the verdict first, and the methods text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.trajectory.agreement import OF_R, rank_agreement
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R, TrajectoryOptions
from scvi_downstream.pipelines.trajectory.report import summarize_trajectory
from scvi_downstream.report.methods import render_methods
from scvi_downstream.study.defaults import defaults_of

CELLS = pd.Index([f"cell{i}" for i in range(200)], name="cell")
METHODS = ("dpt_pseudotime", "slingshot_pseudotime", "slingshot_consensus", "graph_pseudotime")


def summary(
    noise: float, verdict: str, time: pd.DataFrame | None = None, of_r: float | None = None
) -> dict[str, Any]:
    """Of orders of one time with noise, of which the halves of the cells give the verdict; ``of_r`` more in R's."""
    random, order = np.random.default_rng(0), np.linspace(0, 1, 200)
    noisy = {name: order + random.normal(0, noise, 200) for name in METHODS}
    orders = pd.DataFrame({"pseudotime": order} | noisy, index=CELLS)
    compared = orders.add_prefix("scvi ").join(orders.add_prefix("pca "))
    versions = None
    if of_r is not None:
        compared[OF_R] = order + random.normal(0, of_r, 200)
        versions = {"R": "4.2.2", "monocle": "2.26.0"}
    agreement = rank_agreement(compared)
    stability = pd.DataFrame({"method": METHODS[0], "spearman": [0.5], "verdict": [verdict]})
    sentences: dict[str, Any] = {"sentences": []}
    lineages = {
        "lineages": {"lineage_1": ["a", "b"]},
        "loops": [{"is_loop": False}],
        "clusterings": {"n": 3, "agreement": 0.4},
    }
    roots = {"root_dependence": {"n_other_roots": 2, "lowest": 0.3}}
    counts = AnnData(np.zeros((200, 0)), obs=pd.DataFrame({"hours": order, "batch": "a"}, index=CELLS))
    return summarize_trajectory(
        counts,
        orders.assign(fate_a=1.0, fate_entropy=0.0),
        {"sentences": ["trajectories start at a cell"]},
        sentences | roots,
        sentences | lineages,
        sentences | {"n_tips": 2},
        sentences,
        sentences,
        agreement,
        stability,
        "scvi",
        {"correct_batch": True},
        Keys(batch_key="batch"),
        defaults_of(TrajectoryOptions, time_key="hours"),
        time,
        versions,
    )


def test_methods_that_agree_and_halves_that_do_are_believed() -> None:
    found = summary(0.02, "stable")
    assert found["sentences"][0].startswith(
        "the methods agree on the order of the cells (median rank correlation 1.00, lowest 0.99)"
    )
    assert found["sentences"][0].endswith(")")
    assert found["n_terminal_states"] == 1
    assert found["agreement"] > 0.9
    assert found["spearman_with_time"] is None


@pytest.mark.parametrize(("noise", "begin"), [(0.02, "the methods agree"), (2.0, "the methods do not agree")])
def test_one_verdict_and_what_limits_it(noise: float, begin: str) -> None:
    verdict, halves, start, roots, clusterings = summary(noise, "unstable")["sentences"]
    assert verdict.startswith(begin)
    assert "and diffusion pseudotime differs between halves of the cells" in verdict
    assert verdict.endswith(": do not rest a conclusion on pseudotime alone")
    assert "diffusion pseudotime 0.50 (unstable)" in halves
    assert start == "trajectories start at a cell"
    assert "another one gives an order that correlates by 0.30" in roots
    assert "orders over 3 clusterings agree by 0.40" in clusterings


def test_known_time_is_the_second_sentence() -> None:
    row = {"representation": "scvi", "method": METHODS[1], "spearman": 0.8, "low": 0.7, "high": 0.9}
    time = pd.DataFrame([row | {"within_batch_spearman": np.nan}])
    found = summary(0.02, "stable", time)
    assert found["sentences"][1].startswith(
        "with the known 'hours' the best order is Slingshot on scvi (Spearman 0.80"
    )
    assert "within batches" not in found["sentences"][1]
    assert found["spearman_with_time"] == {METHODS[1]: 0.8}


@pytest.mark.parametrize(("noise", "said"), [(0.1, "agrees with"), (9.0, "does not agree with")])
def test_whether_r_agrees_is_said_plainly(noise: float, said: str) -> None:
    row = {"representation": "R", "method": "monocle_r_pseudotime", "spearman": 0.4, "low": 0.3, "high": 0.5}
    time = pd.DataFrame([row | {"within_batch_spearman": np.nan}])
    found = summary(0.02, "stable", time, of_r=noise)
    assert "the best order is Monocle 2 in R (Spearman 0.40" in found["sentences"][1]
    sentence = found["sentences"][2]
    assert sentence.startswith(f"Monocle 2 in R {said} the consensus (rank correlation ")
    assert ("the principal graph 0.9" in sentence) == (noise < 1)
    assert sentence.endswith("), and correlates with the known 'hours' by 0.40")
    assert summary(0.02, "stable", of_r=noise)["sentences"][1] == sentence.rsplit(", and", 1)[0]
    assert found["software"] == {"R": "4.2.2", "monocle": "2.26.0"}
    assert not any("Monocle" in each for each in summary(0.02, "stable")["sentences"])


@pytest.mark.parametrize("lacking", [{}, {MONOCLE_R: "Rscript is not on the PATH"}])
def test_methods_name_r_where_it_was_run(lacking: dict[str, str]) -> None:
    study = SimpleNamespace(analyses={"trajectory"}, keys=Keys(), models={}, primary="scvi", left_out=lacking)
    options = defaults_of(TrajectoryOptions, start_cluster="B", monocle_r=True)
    text = render_methods("scvi_downstream.pipelines.trajectory", study=study, options=options)
    assert ("ordered by Monocle 2 (DDRTree) [@qiu2017] in R" in text) == (not lacking)
    assert "with Monocle 2's number of nodes [@qiu2017], these placed" in text
    chosen = defaults_of(TrajectoryOptions, start_cluster="B", principal_graph={"n_nodes": 50})
    text = render_methods("scvi_downstream.pipelines.trajectory", study=study, options=chosen)
    assert "with 50 nodes, these placed" in text
    assert "each covariance shrunken towards the pooled one" in text


@pytest.mark.parametrize("order", ["consensus", "dpt", "slingshot", "principal_graph"])
def test_methods_name_every_order_of_the_genes(order: str) -> None:
    study = SimpleNamespace(analyses={"trajectory"}, keys=Keys(), models={}, primary="scvi")
    options = defaults_of(TrajectoryOptions, start_cluster="B", trends={"pseudotime": order})
    text = render_methods("scvi_downstream.pipelines.trajectory", study=study, options=options)
    assert text.startswith(
        "**Trajectories.** Trajectories were learnt on `scvi` and `pca`, from the cells of `B`."
    )
    assert "Genes along " in text
