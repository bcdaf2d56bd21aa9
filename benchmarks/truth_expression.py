"""What the project says of genes, held against the truth: expression by group, condition, annotation and pseudotime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from simulation import LOADINGS_KEY, Cohort, Course, Planted, simulate_cohort, simulate_course
from truth_errors import Capability, Tested

from scvi_downstream.cells.expression import log_normalize, log_normalize_modelled
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.annotation.marker_table import match_markers
from scvi_downstream.pipelines.annotation.naming import name_clusters
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.variance import partition_gene_variance
from scvi_downstream.pipelines.clustering.nodes import cluster_leiden
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.de.nodes import call_genes, rank_pseudobulk, rank_wilcoxon
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.embedding.nodes import principal_components
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.prediction.comparison import (
    Blocks,
    Group,
    change_p_value,
    shares_of,
    test_genes,
)
from scvi_downstream.pipelines.predictive_checks.checks import compare_genes
from scvi_downstream.pipelines.predictive_checks.evidence import gather, gene_reference
from scvi_downstream.pipelines.trajectory.fates import fate_drivers
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.trend_tests import fit_trends
from scvi_downstream.study.defaults import defaults_of, replicates_of

CELLS = Planted(n_genes=300, n_types=3, median_counts=800)
BY_CONDITION = {
    "donors of two conditions": Cohort(CELLS),
    "3 donors a condition": Cohort(CELLS, n_donors=3),
    "donors in both conditions": Cohort(CELLS, conditions="samples", n_donors=6),
    "half the depth in one": Cohort(CELLS, depth=(0.5, 0.3)),
    "two batches": Cohort(replace(CELLS, n_batches=2, batch_effect=0.3), n_donors=6),
}
ALIKE = Cohort(CELLS, conditions="cells", n_donors=4, donor_sd=0.0, composition_sd=0.0, depth=(1.0, 0.0))
BY_GROUP = {
    "cells of one population": ALIKE,
    "half the depth in one group": replace(ALIKE, depth=(0.5, 0.0)),
    "donors who differ in both": replace(ALIKE, n_donors=6, donor_sd=0.25, composition_sd=0.5),
}
ONE_POPULATION = replace(ALIKE, cells=replace(CELLS, n_types=1, signal=0.0))
CHANGE, SHARE = 1.0, 0.1
DE = defaults_of(DeOptions, groupings=("labels",))
CONDITIONS = defaults_of(DeOptions, groupings=())
METADATA = defaults_of(MetadataAnalysisOptions, columns=None)
N_SETS, SET_SIZE = 6, 12


def keys_of(cohort: Cohort, **others: str | None) -> Replicates:
    """The obs columns of a cohort as a study names them."""
    block = "donor" if cohort.conditions == "samples" else None
    named = {
        "sample_key": "sample",
        "condition_key": "condition",
        "label_key": "cell_type",
        "block_key": block,
    }
    return replicates_of(**named | others)


def change_of(counts: AnnData, genes: pd.Series, *, planted: bool) -> np.ndarray | None:
    """Whether each gene changes, where something is planted."""
    return counts.var["changes"].reindex(genes).to_numpy() if planted else None


def types_of(counts: AnnData) -> pd.DataFrame:
    """The true types as clusters."""
    return pd.DataFrame({"leiden": counts.obs["cell_type"]}, index=counts.obs_names)


def calls_of(
    counts: AnnData, clusters: pd.DataFrame, keys: Replicates, options: DeOptions, pseudobulk: pd.DataFrame
) -> pd.DataFrame:
    """What the project calls, with or without tests on samples."""
    genes = pd.DataFrame({"gene": counts.var_names})
    return call_genes(counts, clusters, genes, pseudobulk, keys, options)


def compare_conditions(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Pseudobulk and Wilcoxon tests of the condition within each type, where donors are the replicates."""
    for scenario, cohort in BY_CONDITION.items():
        counts = simulate_cohort(replace(cohort, change=CHANGE * planted), seed)
        read = (counts, types_of(counts), keys_of(cohort), CONDITIONS)
        tables = {"pseudobulk": rank_pseudobulk(*read), "Wilcoxon on cells": rank_wilcoxon(*read)}
        for test, table in tables.items():
            within = table[table["grouping"] == "condition_by_type"]
            truth = change_of(counts, within["gene"], planted=planted)
            called = (within["p_adjusted"] <= CONDITIONS.fdr).to_numpy()
            p, families = within["p_value"].to_numpy(), within["comparison"].to_numpy()
            yield Tested(test, scenario, called, truth, p, families=families)
        calls = calls_of(*read, tables["pseudobulk"])
        calls = calls[(calls["grouping"] == "condition_by_type") & (calls["unit"] == "samples")]
        truth, families = change_of(counts, calls["gene"], planted=planted), calls["comparison"].to_numpy()
        yield Tested("calls", scenario, calls["is_de"].to_numpy(bool), truth, families=families)


def compare_groups(seed: int, *, planted: bool) -> Iterator[Tested]:
    """The same of two groups of cells that are known beforehand, each sample holding both."""
    for scenario, cohort in BY_GROUP.items():
        counts = simulate_cohort(replace(cohort, change=CHANGE * planted), seed)
        keys = keys_of(cohort, condition_key=None, label_key="condition")
        read = (counts, types_of(counts), keys, DE)
        tables = {"pseudobulk": rank_pseudobulk(*read), "Wilcoxon on cells": rank_wilcoxon(*read)}
        for test, table in tables.items():
            one = table[table["comparison"] == "b vs rest"]
            truth = change_of(counts, one["gene"], planted=planted)
            called = (one["p_adjusted"] <= DE.fdr).to_numpy()
            yield Tested(test, scenario, called, truth, one["p_value"].to_numpy())
        for unit, tested in (("samples", tables["pseudobulk"]), ("cells", tables["pseudobulk"].iloc[:0])):
            calls = calls_of(*read, tested)
            one = calls[calls["comparison"] == "b vs rest"]
            truth = change_of(counts, one["gene"], planted=planted)
            yield Tested(f"calls, {unit} as units", scenario, one["is_de"].to_numpy(bool), truth)


def clusters_of(counts: AnnData, seed: int) -> pd.DataFrame:
    """Leiden clusters of the principal components of the same counts."""
    points = principal_components(log_normalize_modelled(counts), 10, seed)
    graph = neighbors_graph(
        counts.obs_names, points, n_neighbors=15, n_search=15, exact_up_to=50_000, seed=seed
    )
    found = cluster_leiden(graph, defaults_of(ClusteringOptions, leiden_resolutions=(1.0,)), seed)
    return found.set_axis(["leiden"], axis=1)


def compare_own_clusters(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Tests of clusters on the counts that made them, where all cells are of one population."""
    if planted:
        return
    counts = simulate_cohort(ONE_POPULATION, seed)
    keys = keys_of(ONE_POPULATION, condition_key=None, label_key=None)
    read = (counts, clusters_of(counts, seed), keys, defaults_of(DeOptions, groupings=("clusters",)))
    pseudobulk = rank_pseudobulk(*read)
    for test, table in (("pseudobulk", pseudobulk), ("Wilcoxon on cells", rank_wilcoxon(*read))):
        called = (table["p_adjusted"] <= DE.fdr).to_numpy()
        p, families = table["p_value"].to_numpy(float), table["comparison"].to_numpy()
        yield Tested(test, "clusters of one population", called, None, p, families=families)
    for unit, tested in (("samples", pseudobulk), ("cells", pseudobulk.iloc[:0])):
        calls = calls_of(*read, tested)
        called, families = calls["is_de"].to_numpy(bool), calls["comparison"].to_numpy()
        test = f"calls, {unit} as units"
        yield Tested(test, "clusters of one population", called, None, families=families)


def ask_model(seed: int, *, planted: bool) -> Iterator[Tested]:
    """The Bayesian test on a short fit of scVI: groups of cells known beforehand, and conditions of donors.

    Its calls are ``pairs_is_de`` of the results, at an expected false discovery rate; there are no p-values.
    """
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import build_and_fit
    from scvi_downstream.pipelines.de.nodes import find_comparisons
    from scvi_downstream.statistics.bayesian_expression import compare_bayesian
    from scvi_downstream.study.defaults import default_model

    scenarios = {
        "cells of one population": ALIKE,
        "donors of two conditions": BY_CONDITION["donors of two conditions"],
    }
    spec = default_model(n_latent=5, training={"max_epochs": 40})
    for scenario, cohort in scenarios.items():
        counts = simulate_cohort(replace(cohort, change=2 * CHANGE * planted), seed)
        keys = keys_of(cohort)
        with TemporaryDirectory() as folder:
            store = CheckpointStore(Path(folder) / "fit")
            model = build_and_fit(counts, spec, keys, seed=seed, accelerator="cpu", checkpoints=store).model
        comparisons = find_comparisons(counts, types_of(counts), keys, CONDITIONS)
        over_all = [each for each in comparisons if each.grouping == "condition"]
        table = compare_bayesian(model, over_all, CONDITIONS.bayesian, seed)
        truth = change_of(counts, table["gene"], planted=planted)
        yield Tested("pairs of cells", scenario, table["is_de"].to_numpy(bool), truth)


def compare_annotations(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Genes by annotations: numbers of samples, and of cells, which in part differ between samples as well."""
    cohort = BY_CONDITION["donors of two conditions"]
    counts = simulate_cohort(replace(cohort, change=CHANGE * planted), seed)
    rng = np.random.default_rng([seed, 1])
    keys = keys_of(cohort)
    samples = counts.obs["sample"].cat.codes.to_numpy()
    in_b = (counts.obs["condition"] == "b").to_numpy()
    mixed = rng.standard_normal(samples.max() + 1)[samples] + rng.standard_normal(counts.n_obs)
    annotations = pd.DataFrame(
        {
            "number of samples": rng.standard_normal(samples.max() + 1)[samples] + 3 * planted * in_b,
            "number of cells": mixed,
        },
        index=counts.obs_names,
    )
    options = defaults_of(MetadataAnalysisOptions, columns=tuple(annotations))
    table = compare_expression(counts, types_of(counts), annotations, keys, options)
    for column, scenario in (
        ("number of samples", "donors differ"),
        ("number of cells", "samples differ in expression and annotation"),
    ):
        if planted and column == "number of cells":
            continue
        one = table[(table["column"] == column) & (table["group"] == "all")]
        truth = change_of(counts, one["gene"], planted=planted)
        called = (one["p_adjusted"] <= options.fdr).to_numpy()
        yield Tested(f"expression by a {column}", scenario, called, truth, one["p"].to_numpy())


def compare_batches(seed: int, *, planted: bool) -> Iterator[Tested]:
    """F tests that batches are equal given the type: on cells, and on samples where batches hold several."""
    effect = 0.3 * planted
    options = defaults_of(BatchEffectOptions)
    cells = replace(CELLS, n_batches=2, batch_effect=effect)
    for scenario, cohort, sample in (
        ("cells of one population", replace(ALIKE, cells=cells), None),
        ("samples of unequal depth", replace(ALIKE, cells=cells, depth=(1.0, 0.3)), None),
        ("donors in two batches, no samples named", Cohort(cells), None),
        ("donors in two batches, samples named", Cohort(cells), "sample"),
    ):
        counts = simulate_cohort(cohort, seed)
        keys = keys_of(cohort, batch_key="batch", sample_key=sample, condition_key=None)
        table = partition_gene_variance(counts, pd.DataFrame(), keys, options, seed)
        truth = np.ones(len(table), bool) if planted else None
        called = (table["batch_p_adjusted"] <= options.fdr).to_numpy()
        yield Tested("gene by batch (F)", scenario, called, truth, table["batch_p"].to_numpy())


def name_by_gene_sets(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Sets of marker genes in clusters: random ones, ones that vary together in no cluster, and those of the types."""
    options = defaults_of(AnnotationOptions, markers={"n_random_sets": 2000})
    rng = np.random.default_rng([seed, 2])
    keys = keys_of(ALIKE, label_key=None)
    counts = simulate_cohort(ALIKE, seed)
    clusters = types_of(counts)
    if planted:
        # sets from one half of the cells, clusters of the other
        half = rng.random(counts.n_obs) < 0.5
        sets = _markers_of_types(counts[half])
        counts, clusters = counts[~half].copy(), clusters[~half]
        names = {f"set {name}": name for name in clusters["leiden"].cat.categories}
        yield from _test_sets(
            "clusters of types, their own sets", counts, clusters, sets, keys, options, names, seed
        )
        return
    random = _table_of([rng.choice(counts.var_names, SET_SIZE, replace=False) for _ in range(N_SETS)])
    yield from _test_sets(
        "clusters of types, random sets", counts, clusters, random, keys, options, None, seed
    )
    together = replace(ALIKE, cells=replace(CELLS, n_types=1))
    counts = simulate_cohort(together, seed)
    loadings = counts.varm[LOADINGS_KEY]
    programs = [counts.var_names[np.argsort(-column)[:SET_SIZE]] for column in loadings.T]
    at_random = pd.DataFrame({"leiden": counts.obs["condition"]})
    scenario = "random clusters, sets that vary together"
    yield from _test_sets(scenario, counts, at_random, _table_of(programs), keys, options, None, seed)


def _table_of(sets: list[np.ndarray] | list[pd.Index]) -> pd.DataFrame:
    tables = [pd.DataFrame({"type": f"set {i}", "gene": genes, "sign": "+"}) for i, genes in enumerate(sets)]
    return pd.concat(tables, ignore_index=True)


def _markers_of_types(counts: AnnData) -> pd.DataFrame:
    """The genes whose mean log expression is highest in each type beside the others."""
    expression = pd.DataFrame(log_normalize(counts).toarray(), columns=counts.var_names)
    means = expression.groupby(counts.obs["cell_type"].to_numpy(), observed=True).mean()
    above = means - (means.sum() - means) / (len(means) - 1)
    return _table_of([row.nlargest(SET_SIZE).index for _, row in above.iterrows()])


def _test_sets(
    scenario: str,
    counts: AnnData,
    clusters: pd.DataFrame,
    sets: pd.DataFrame,
    keys: Replicates,
    options: AnnotationOptions,
    names: dict[str, str] | None,
    seed: int,
) -> Iterator[Tested]:
    """Names of clusters, and the overlap of their markers with the sets."""
    _, scores, _, _ = name_clusters(counts, clusters, sets, keys, options, seed)

    def truth_of(table: pd.DataFrame) -> np.ndarray | None:
        return None if names is None else (table["type"].map(names) == table["cluster"]).to_numpy()

    fdr = options.markers.fdr
    yield Tested(
        "name by a gene set",
        scenario,
        (scores["fdr"] < fdr).to_numpy(),
        truth_of(scores),
        scores["p"].to_numpy(),
    )
    tests = rank_wilcoxon(
        counts, clusters, keys, defaults_of(DeOptions, groupings=("clusters",), conditions=False)
    )
    highest = tests[tests["score"] > 0].groupby("comparison", sort=False).head(25)
    markers = highest.assign(group=highest["comparison"].str.removesuffix(" vs rest"))
    overlap = match_markers(markers, sets, counts, options)
    called = (overlap["p_adjusted"] <= fdr).to_numpy()
    yield Tested("overlap with a gene set", scenario, called, truth_of(overlap), overlap["p"].to_numpy())


def follow_genes(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Genes along pseudotime and between lineages: an order that is known, and one that the same counts made."""
    course = Course(change=2.0 * planted, parting=2.0 * planted)
    donors = replace(course, n_donors=6, donor_sd=0.25)
    scenarios = {
        "known order": (course, False),
        "depth rises eightfold along the order": (replace(course, depth=8.0), False),
        "donors differ, not in their place": (donors, False),
        "donors differ, in their place too": (replace(donors, lag=0.7), False),
        "donors differ, in their place too; corrected for": (replace(donors, lag=0.7), True),
    }
    for scenario, (simulated, corrected) in scenarios.items():
        counts = simulate_course(simulated, seed)
        tests, contrasts = _trends(counts, counts.obs["time"].to_numpy(), seed, corrected=corrected)
        parts = counts.var["changes"] | counts.var["parts"]
        for test, table, changed in (
            ("gene along pseudotime", tests, parts),
            ("gene between lineages", contrasts, counts.var["parts"]),
        ):
            truth = changed.reindex(table["gene"]).to_numpy() if planted else None
            called = table["dynamic"] if "dynamic" in table else table["p_adjusted"] <= 0.05
            yield Tested(test, scenario, called.to_numpy(bool), truth, table["p"].to_numpy())
    if not planted:
        counts = simulate_course(course, seed)
        counts.var["highly_variable"] = np.arange(counts.n_vars) % 2 == 0
        first = principal_components(log_normalize_modelled(counts), 2, seed)[:, 0]
        tests, _ = _trends(counts, first.argsort().argsort() / len(first), seed, corrected=False)
        for seen, table in tests.groupby("seen"):
            name = "modelled genes" if seen else "other genes"
            p = table["p"].to_numpy()
            yield Tested(
                "gene along pseudotime", f"order of noise, {name}", table["dynamic"].to_numpy(bool), None, p
            )


def _trends(
    counts: AnnData, time: np.ndarray, seed: int, *, corrected: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tests along two true lineages, those of the first, and tests between them."""
    columns = {}
    for lineage in ("0", "1"):
        inside = (counts.obs["lineage"] == lineage).to_numpy() | (time < 0.5)
        columns[f"slingshot_pseudotime_{lineage}"] = np.where(inside, time, np.nan)
        columns[f"slingshot_weight_{lineage}"] = inside.astype(float)
    trends = {"genes": "all", "correct_batch": corrected}
    options = defaults_of(TrajectoryOptions, trends=trends)
    keys = replicates_of(batch_key="donor")
    orders = pd.DataFrame(columns, index=counts.obs_names)
    _, tests, contrasts, _ = fit_trends(counts, orders, keys, options, seed)
    return tests[tests["lineage"] == "lineage_0"], contrasts


def drive_fates(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Genes that go with the probability of a fate, which is given."""
    course = Course(change=2.0 * planted)
    for scenario, simulated in (
        ("known fates", course),
        ("donors differ, in their fates too", replace(course, n_donors=6, donor_sd=0.25, lag=0.7)),
    ):
        counts = simulate_course(simulated, seed)
        time = counts.obs["time"].to_numpy()
        table = fate_drivers(
            counts, pd.DataFrame({"fate_0": time, "fate_1": 1 - time}, index=counts.obs_names)
        )
        one = table[table["terminal_state"] == "0"]
        truth = counts.var["changes"].reindex(one["gene"]).to_numpy() if planted else None
        yield Tested(
            "driver of a fate", scenario, (one["p_adjusted"] <= 0.05).to_numpy(), truth, one["p"].to_numpy()
        )


def find_any_change(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Whether held-out cells of two conditions differ at all, which predictions of the change are measured by."""
    for scenario, cohort in (
        ("cells of one population", ALIKE),
        ("donors in both conditions", BY_CONDITION["donors in both conditions"]),
    ):
        counts = simulate_cohort(replace(cohort, change=CHANGE * planted), seed)
        counts = counts[(counts.obs["cell_type"] == "0").to_numpy()]
        in_b = (counts.obs["condition"] == "b").to_numpy()
        blocks = counts.obs["donor"].cat.codes.to_numpy().astype(int)
        shares, a, b = shares_of(counts.X), np.flatnonzero(~in_b), np.flatnonzero(in_b)
        source, reference = a[::2], a[1::2]
        coded = Blocks(blocks[source], blocks[reference], blocks[b], int(blocks.max()) + 1)
        group = Group(shares[source], shares[reference], shares[b], coded)
        p = np.array([change_p_value(group, seed)])
        truth = np.ones(1, bool) if planted else None
        yield Tested("any change of expression", scenario, p <= 0.05, truth, p)
        called = test_genes(group) <= 0.05
        genes = change_of(counts, pd.Series(counts.var_names), planted=planted)
        yield Tested("genes that respond, no samples named", scenario, called, genes)


def check_generated(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Genes that a source generates unlike the observed: counts of the truth, or with half the variance beyond Poisson."""
    rng = np.random.default_rng([seed, 3])
    n_cells, n_genes, n_samples = 400, 200, 40
    theta = rng.gamma(4, 0.5, n_genes)
    mean = np.exp(rng.normal(-0.5, 1.2, n_genes)) * rng.lognormal(0, 0.4, (2 * n_cells, 1))
    wrong = np.isin(np.arange(n_genes), rng.choice(n_genes, n_genes // 10, replace=False)) & planted

    def draw(cells: np.ndarray) -> np.ndarray:
        claimed = np.where(wrong, 4 * theta, theta)
        size = (n_samples, len(cells), n_genes)
        return rng.poisson(rng.gamma(claimed, mean[cells] / claimed, size)).astype(np.float32)

    counts = sparse.csr_matrix(rng.poisson(rng.gamma(theta, mean / theta)).astype(np.float32))
    reference = gene_reference(counts[:n_cells], 20)
    held_out = np.arange(n_cells, 2 * n_cells)
    evidence = gather(
        draw, counts, held_out, reference, source="model", cells="training", n_samples=n_samples, seed=seed
    )
    names = pd.Index([f"g{i}" for i in range(n_genes)])
    table = compare_genes(evidence, reference, names, names.to_numpy(), 0.05)
    truth = wrong if planted else None
    yield Tested(
        "gene unlike its model",
        "counts of the source",
        table["outlier"].to_numpy(),
        truth,
        table["p"].to_numpy(),
    )


CAPABILITIES = (
    Capability("Expression by condition", compare_conditions),
    Capability("Expression by known groups", compare_groups),
    Capability("Expression by clusters of the same counts", compare_own_clusters),
    Capability("Expression by the model (Bayesian)", ask_model, share=0.1),
    Capability("Expression by annotation", compare_annotations),
    Capability("Expression by batch", compare_batches),
    Capability("Gene sets", name_by_gene_sets, share=0.5),
    Capability("Genes along a trajectory", follow_genes, share=0.5),
    Capability("Drivers of fates", drive_fates),
    Capability("Change to be predicted", find_any_change, share=3.0),
    Capability("Predictive checks", check_generated, share=0.5),
)
