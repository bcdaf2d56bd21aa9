"""What the project says of cells and samples, held against the truth: latents, shares, batches, clusters, types, time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import nan
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
from anndata import AnnData
from simulation import (
    LATENT_KEY,
    LOADINGS_KEY,
    Cohort,
    Course,
    Planted,
    simulate,
    simulate_cohort,
    simulate_course,
)
from truth_errors import Capability, Tested
from truth_expression import ALIKE, CELLS, keys_of, types_of

from scvi_downstream.cells.expression import PROTEIN_KEY, log_normalize
from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.annotation.consensus import agree_on_cell_types
from scvi_downstream.pipelines.annotation.label_split import HELD_OUT, hold_out_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.transfer import transfer_with_clusters, transfer_with_neighbors
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.structure import measure_batch_structure
from scvi_downstream.pipelines.clustering.nodes import cluster_leiden, resample_leiden
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.pipelines.comparison.batch_structure import LEVEL, judge
from scvi_downstream.pipelines.embedding.nodes import principal_components
from scvi_downstream.pipelines.factors.effects import associate_factors, linear_effects, order_factors
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.metadata.annotations import associate_annotations
from scvi_downstream.pipelines.metadata.composition import compare_composition, tabulate_composition
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.proteins.markers import correlate_with_genes
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.reference_mapping.unlike import MappedCells, find_unlike
from scvi_downstream.pipelines.samples.abundance import SampleDensities, compare_abundance
from scvi_downstream.pipelines.samples.comparison import separate_conditions
from scvi_downstream.pipelines.samples.design import (
    ALL_CELLS,
    Contrasts,
    SampleDesign,
    adjusted_over_groups,
    make_contrasts,
    sample_design,
)
from scvi_downstream.pipelines.samples.distances import GroupSums, effect_of_contrast, tabulate_distances
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.pipelines.trajectory.agreement import compare_orders, compare_with_time
from scvi_downstream.pipelines.trajectory.lineages import build_tree
from scvi_downstream.pipelines.trajectory.loops import find_loops
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.statistics.differences import mean_difference
from scvi_downstream.study.defaults import defaults_of, replicates_of

OF_SAMPLES = {
    "donors of two conditions": Cohort(CELLS),
    "donors in both conditions": Cohort(CELLS, conditions="samples", n_donors=6),
    "samples of 10 to 300 cells": Cohort(CELLS, cells_per_sample=(10, 300)),
}
ABUNDANCE, SHIFT, APART = 1.2, 1.5, 4.0
# Draws of the shifts of one cohort, as these are what is tested and cells take longer.
N_DRAWS = 3


def all_of(n: int, *, planted: bool) -> np.ndarray | None:
    """That everything is planted, or nothing."""
    return np.ones(n, dtype=bool) if planted else None


def shifted_latent(counts: AnnData, rng: np.random.Generator, effect: float) -> pd.DataFrame:
    """The true latent as a model would give it: with noise, shifts of samples, and ``effect`` of ``b`` on the first."""
    latent = counts.obsm[LATENT_KEY].astype(float)
    samples = counts.obs["sample"].cat.codes.to_numpy()
    latent = latent + 0.3 * rng.standard_normal((samples.max() + 1, latent.shape[1]))[samples]
    latent = latent + 0.2 * rng.standard_normal(latent.shape)
    latent[:, 0] += effect * (counts.obs["condition"] == "b")
    names = [f"latent_{i + 1}" for i in range(latent.shape[1])]
    return pd.DataFrame(latent, index=counts.obs_names, columns=names)


def annotations_of(
    counts: AnnData, latent: pd.DataFrame, rng: np.random.Generator, *, planted: bool
) -> pd.DataFrame:
    """Annotations of samples and of cells; where something is planted, the first dimension follows all of them."""
    samples = counts.obs["sample"].cat.codes.to_numpy()
    by_sample = rng.standard_normal(samples.max() + 1)[samples]
    of_cell = rng.standard_normal(counts.n_obs)
    latent["latent_1"] += 0.5 * planted * of_cell
    in_b = (counts.obs["condition"] == "b").to_numpy()
    columns = {
        "category of samples": counts.obs["condition"],
        "number of samples": by_sample + 3 * planted * in_b,
        "number of cells": of_cell,
        "number of cells, samples differ": of_cell + by_sample,
        "category of cells, samples differ": pd.Categorical(np.where(of_cell + by_sample > 0, "high", "low")),
    }
    return pd.DataFrame(columns, index=counts.obs_names)


def associate_latents(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Dimensions of a latent, and factors of a linear decoder, against annotations."""
    rng = np.random.default_rng([seed, 4])
    for scenario in ("donors of two conditions", "donors in both conditions"):
        cohort = OF_SAMPLES[scenario]
        counts = simulate_cohort(cohort, seed)
        latent = shifted_latent(counts, rng, SHIFT * planted)
        annotations = annotations_of(counts, latent, rng, planted=planted)
        options = defaults_of(MetadataAnalysisOptions, columns=tuple(annotations))
        keys = keys_of(cohort)
        table = associate_annotations(latent, annotations, counts, keys, options)
        called = table["p_adjusted"] <= options.fdr
        yield from _by_annotation("latent", scenario, table, called, planted=planted)
        decoded = linear_effects(counts.varm[LOADINGS_KEY], latent.to_numpy())
        _, facts = order_factors(decoded, latent, counts.var_names, log_normalize(counts))
        covariates = annotations.rename(columns={"category of samples": "condition"}).assign(
            sample=counts.obs["sample"]
        )
        factors = associate_factors(latent, facts, covariates, keys, defaults_of(FactorOptions))
        dimension = facts.set_index("factor")["dimension"]
        named = factors.assign(dimension=factors["dimension"].map(dimension)).replace(
            {"condition": "category of samples"}
        )
        yield from _by_annotation("factor", scenario, named, named["follows"], planted=planted)


def _by_annotation(
    what: str, scenario: str, table: pd.DataFrame, called: pd.Series, *, planted: bool
) -> Iterator[Tested]:
    for name, rows in table.groupby("covariate", sort=False):
        if name == "sample":
            continue
        truth = (rows["dimension"] == "latent_1").to_numpy() if planted else None
        yield Tested(
            f"{what} by a {name}", scenario, called[rows.index].to_numpy(bool), truth, rows["p"].to_numpy()
        )


def compare_shares(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Shares of the types in samples: linear models of log-odds, and densities in the latent."""
    for scenario, cohort in OF_SAMPLES.items():
        counts = simulate_cohort(replace(cohort, abundance=ABUNDANCE * planted), seed)
        keys, clusters = keys_of(cohort), types_of(counts)
        options = defaults_of(MetadataAnalysisOptions, columns=("condition",))
        shares = tabulate_composition(counts, clusters, keys, options)
        table = compare_composition(shares, counts.obs[["condition"]], counts, keys, options)
        if planted:  # the others are less frequent for it
            table = table[table["group"] == "0"]
        called = (table["p_adjusted"] <= options.fdr).to_numpy()
        yield Tested(
            "share of a type", scenario, called, all_of(len(table), planted=planted), table["p"].to_numpy()
        )
        design = sample_design(counts, clusters, keys, defaults_of(SamplesOptions))
        _, groups = compare_abundance(_densities(counts, design), design, defaults_of(SamplesOptions), seed)
        groups = groups[(groups["group"] == "0") if planted else (groups["group"] != ALL_CELLS)]
        called = (groups["p_adjusted"] <= 0.05).to_numpy()
        p = groups["p"].to_numpy(float)
        yield Tested("density in the latent", scenario, called, all_of(len(groups), planted=planted), p)


def _densities(counts: AnnData, design: SampleDesign) -> SampleDensities:
    """Posteriors around the true latent, as the model of samples gives them."""
    u = counts.obsm[LATENT_KEY].astype(float)
    own = [np.flatnonzero(design.of_cell == s) for s in range(len(design.samples))]
    return SampleDensities(
        tuple(u[each] for each in own), tuple(np.full(u[each].shape, 0.3) for each in own), u
    )


def compare_distances(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Distances between samples by condition, from shifts of samples that are given."""
    rng = np.random.default_rng([seed, 5])
    options = defaults_of(SamplesOptions)
    for scenario, cohort in OF_SAMPLES.items():
        counts = simulate_cohort(replace(cohort, cells=replace(CELLS, n_genes=20)), seed)
        keys = keys_of(cohort)
        design = sample_design(counts, types_of(counts), keys, options)
        contrasts = make_contrasts(design, options, seed)
        for _ in range(N_DRAWS):
            sums = _sums_of_shifts(design, rng, APART * planted)
            for name, called, p in _test_distances(sums, design, contrasts, options):
                truth = all_of(len(p), planted=planted)
                yield Tested(f"{name} of a condition", scenario, called, truth, p)


def _test_distances(
    sums: GroupSums, design: SampleDesign, contrasts: Contrasts, options: SamplesOptions
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Both statistics with their calls and p-values in the groups; all cells together are a question of their own."""
    distances = tabulate_distances(sums, np.full(sums.distances.shape, 2.0), design, options)
    table = separate_conditions(distances, design, contrasts, options)
    table["effect_p"] = [
        nan
        if isinstance(contrast, str)
        else effect_of_contrast(sums.products[design.groups.index(group)], contrast)[1]
        for (group, _), contrast in contrasts.items()
    ]
    parts = (table["group"] != ALL_CELLS).to_numpy()
    for name in ("silhouette", "effect"):
        called = adjusted_over_groups(table, f"{name}_p", options.fdr)[parts] <= options.fdr
        yield name, called, table[f"{name}_p"].to_numpy(float)[parts]


def _sums_of_shifts(design: SampleDesign, rng: np.random.Generator, effect: float) -> GroupSums:
    """Distances and products of one shift a sample and group, in ten dimensions; pairs share half of theirs."""
    of_block = np.unique(design.blocks or design.samples, return_inverse=True)[1]
    treated = np.array([condition == "b" for condition in design.conditions])
    distances, products = [], []
    for _ in design.groups:
        shifts = rng.standard_normal((len(design.samples), 10))
        shifts += (
            design.n_pairs * rng.standard_normal((of_block.max() + 1, 10))[of_block] / max(design.n_pairs, 1)
        )
        shifts[:, 0] += effect * treated
        distances.append(np.linalg.norm(shifts[:, None] - shifts[None], axis=-1))
        products.append(shifts @ shifts.T)
    return GroupSums(np.array(distances), np.array(products))


def graph_of(counts: AnnData, points: np.ndarray) -> NeighborsGraph:
    """Nearest neighbours as the embedding searches them."""
    return neighbors_graph(counts.obs_names, points, n_neighbors=15, n_search=30, exact_up_to=50_000, seed=0)


def find_batches(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Whether batches lie apart: neighbours and classifiers, with batches permuted within labels."""
    cells = Planted(
        n_cells=500, n_genes=200, n_types=3, n_batches=2, median_counts=800, batch_effect=0.4 * planted
    )
    scenarios = {
        "batches of one composition": (simulate(cells, seed), "cell_type"),
        "batches of other compositions": (simulate(replace(cells, imbalance=0.5), seed), "cell_type"),
        "batches of one composition, no labels": (simulate(cells, seed), None),
        "batches of other compositions, no labels": (simulate(replace(cells, imbalance=0.5), seed), None),
    }
    cohort = Cohort(cells, n_donors=4)
    scenarios["donors in two batches"] = (simulate_cohort(cohort, seed), "cell_type")
    options = defaults_of(BatchEffectOptions)
    for scenario, (counts, label) in scenarios.items():
        counts.var["highly_variable"] = True
        keys = replicates_of(batch_key="batch", label_key=label)
        points = principal_components(log_normalize(counts), 10, 0)
        verdict = judge(graph_of(counts, points), counts.obs, keys, seed=seed)
        called = np.array([verdict.outcome == "present"])
        yield Tested("need of correction", scenario, called, all_of(1, planted=planted), level=LEVEL)
        if label is None:
            continue
        pca = pd.DataFrame(points, index=counts.obs_names)
        table = measure_batch_structure(
            counts, pca, pca.iloc[:, :0], pd.DataFrame(), keys, options, seed
        ).head(1)
        for name in ("linear", "neighbor"):
            p = table[f"{name}_p"].to_numpy(float)
            yield Tested(
                f"batch told by a {name} classifier", scenario, p <= 0.05, all_of(1, planted=planted), p
            )


def find_clusters(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Whether a clustering is called stable: of cells without clusters, and of types."""
    options = defaults_of(ClusteringOptions)
    one = replace(ALIKE, cells=replace(CELLS, n_types=1))
    scenarios = {
        "cells that differ by noise": replace(one, cells=replace(one.cells, signal=0.0)),
        "one cloud of cells": one,
        "one cloud, donors differ": replace(one, n_donors=6, donor_sd=0.25),
    }
    if planted:
        scenarios = {"three types": replace(ALIKE, n_donors=4)}
    for scenario, cohort in scenarios.items():
        counts = simulate_cohort(cohort, seed)
        graph = graph_of(counts, principal_components(log_normalize(counts), 10, 0))
        leiden = cluster_leiden(graph, options, seed)
        best = recommend(leiden, resample_leiden(graph, leiden, options, seed), options.min_stability)
        yield Tested("stable clusters", scenario, np.array([best.stable]), all_of(1, planted=planted))


def transfer_types(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Cells of the labelled types that are called unlike them, and cells of a type that no label names."""
    counts = simulate(Planted(n_cells=2500, n_genes=150, n_types=5, n_latent=8, median_counts=800), seed)
    rng = np.random.default_rng([seed, 6])
    true = counts.obs["cell_type"].astype(str).to_numpy()
    hidden = rng.random(counts.n_obs) < 0.3
    if planted:
        hidden |= true == "4"
    counts.obs["cell_type"] = pd.Categorical(np.where(hidden, UNKNOWN, true))
    counts.var["highly_variable"] = True
    keys, options = replicates_of(label_key="cell_type"), defaults_of(AnnotationOptions)
    latent = pd.DataFrame(principal_components(log_normalize(counts), 10, 0), index=counts.obs_names)
    fitted = cast("SavedModel", SimpleNamespace(setup={}))
    split = hold_out_labels(counts, keys, options, seed)
    clusters = cluster_leiden(
        graph_of(counts, latent.to_numpy()), defaults_of(ClusteringOptions, leiden_resolutions=(1.0,)), seed
    )
    near, distances = transfer_with_neighbors(counts, fitted, fitted, latent, split, options, "cpu")
    of_clusters = transfer_with_clusters(fitted, clusters.set_axis(["leiden"], axis=1), split, options)
    nothing = pd.DataFrame(index=split.index)
    types, *_ = agree_on_cell_types(split, nothing, near, of_clusters, distances, options, seed)
    unknown = (split["role"] == UNKNOWN).to_numpy()
    held_out = (split["role"] == HELD_OUT).to_numpy()
    absent = true == "4"
    for role, cells in (("held-out cells", held_out), ("cells without a label", unknown)):
        if planted and role == "held-out cells":
            continue
        truth = absent[cells] if planted else None
        p = types["cell_type_unlike_p"].to_numpy(float)[cells]
        yield Tested("unlike the labelled", role, types["cell_type_unlike"].to_numpy(bool)[cells], truth, p)
    if not planted:
        yield from _confidence(types, true, unknown)


def _confidence(types: pd.DataFrame, true: np.ndarray, cells: np.ndarray) -> Iterator[Tested]:
    """Wrong types of the cells that are called with at least a probability, which allows so many of them."""
    called = types["cell_type_predicted"].astype(str).to_numpy()
    probability = types["cell_type_probability"].to_numpy()
    for least in (0.5, 0.9):
        sure = cells & (called != UNKNOWN) & (probability >= least)
        right = (called[sure] == true[sure]).astype(float)
        test = f"wrong type at a probability of {least:g} or more"
        yield Tested(test, "cells without a label", np.zeros(0, dtype=bool), None, right, round(1 - least, 2))


def find_unlike_cells(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Cells of the query that are called unlike the reference: of its types in a new batch, and of an absent type."""
    cells = Planted(
        n_cells=1200, n_genes=200, n_types=5, n_latent=8, median_counts=800, n_batches=4, batch_effect=0.2
    )
    for scenario, simulated in (
        ("a new batch", cells),
        ("a new batch of another composition", replace(cells, imbalance=0.5)),
    ):
        counts = simulate(simulated, seed)
        types = counts.obs["cell_type"].astype(str).to_numpy()
        batch = counts.obs["batch"].astype(str).to_numpy()
        in_query = batch == "3"
        in_reference = ~in_query & ((types != "4") | (not planted))
        # an encoder that knows the reference alone
        expression = log_normalize(counts).toarray()
        mean = expression[in_reference].mean(axis=0)
        axes = np.linalg.svd(expression[in_reference] - mean, full_matrices=False)[2][:8]
        latent = (expression - mean) @ axes.T
        reference, query = (
            MappedCells(counts.X[inside].tocsr(), latent[inside], batch[inside])
            for inside in (in_reference, in_query)
        )
        labels = pd.Categorical(types[in_reference])
        table, _ = find_unlike(reference, query, labels=labels, n_neighbors=15, fdr=0.05, seed=seed)
        truth = types[in_query] == "4" if planted else None
        yield Tested(
            "unlike the reference", scenario, table["unlike"].to_numpy(), truth, table["p"].to_numpy()
        )


def compare_times(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Whether an interval says that pseudotime goes with a known time, or with another order."""
    rng = np.random.default_rng([seed, 7])
    options = defaults_of(TrajectoryOptions, time_key="day")
    cells = Planted(n_cells=600, n_genes=10)
    for scenario, course, by_donor in (
        ("time of cells", Course(cells), False),
        ("time of donors, who are all alike", Course(cells, n_donors=8), True),
        ("time of donors, who differ in their place", Course(cells, n_donors=8, lag=0.5), True),
    ):
        counts = simulate_course(course, seed)
        place = counts.obs["time"].to_numpy()
        donors = counts.obs["donor"].cat.codes.to_numpy()
        order = pd.DataFrame({"pseudotime": place, "dpt_pseudotime": place}, index=counts.obs_names)
        if by_donor:
            own = pd.Series(place).groupby(donors).transform("mean").to_numpy()
            day = (
                own + rng.normal(0, 0.05, donors.max() + 1)[donors] if planted else rng.permutation(8)[donors]
            )
        else:
            day = rng.random(counts.n_obs) + planted * place
        counts.obs["day"] = day
        keys = replicates_of(sample_key="donor" if by_donor else None)
        table = compare_with_time(counts, keys, options, seed, model=order)
        one = table[table["method"] == "pseudotime"]
        called = ((one["low"] > 0) | (one["high"] < 0)).to_numpy()
        yield Tested("pseudotime goes with time", scenario, called, all_of(1, planted=planted))
    second = order[["pseudotime"]].assign(pseudotime=rng.random(len(order)) + planted * place)
    agreement = compare_orders(one=order[["pseudotime"]], other=second)
    called = agreement["orientation"].isin(["same", "opposite"]).to_numpy()
    yield Tested("orders agree", "cells of one course", called, all_of(1, planted=planted))


def find_rings(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Loops found in two lineages, which form none, and in a ring."""
    counts = simulate_course(Course(Planted(n_cells=800, n_genes=10), ring=planted), seed)
    points = counts.obsm[LATENT_KEY].astype(float)
    graph = graph_of(counts, points)
    options = defaults_of(ClusteringOptions, leiden_resolutions=(1.0,))
    groups = cluster_leiden(graph, options, seed).iloc[:, 0]
    start = str(groups.iloc[int(counts.obs["time"].to_numpy().argmin())])
    tree = build_tree(points, groups, start)
    loops = find_loops(graph.indices[:, :15], graph.distances[:, :15], groups, tree.edges)
    called = np.array([bool(loops["is_loop"].any())])
    yield Tested("loop in a trajectory", "two lineages", called, all_of(1, planted=planted), level=0.01)


def correlate_proteins(seed: int, *, planted: bool) -> Iterator[Tested]:
    """Intervals of the correlation of proteins with their genes, whose RNA has nothing to do with them."""
    rng = np.random.default_rng([seed, 8])
    options = defaults_of(ProteinsOptions)
    effect = 1.0 * planted
    for scenario, n_batches in (("one batch", 1), ("batches shift RNA and proteins", 2)):
        cells = Planted(
            n_cells=400, n_genes=100, n_types=3, n_batches=n_batches, batch_effect=0.4, median_counts=800
        )
        counts = simulate(cells, seed)
        counts.obs["batch"] = pd.Categorical(counts.obs["batch"])
        shifts = 0.4 * rng.standard_normal((n_batches, 20))[counts.obs["batch"].cat.codes.to_numpy()]
        most = np.argsort(-np.asarray(counts.X.sum(axis=0)).ravel())[:20]
        rna = log_normalize(counts, most).toarray()
        log_mean = (
            3 + shifts + 0.3 * rng.standard_normal((counts.n_obs, 20)) + effect * (rna - rna.mean(axis=0))
        )
        names = counts.var_names[most]
        proteins = pd.DataFrame(rng.poisson(np.exp(log_mean)), index=counts.obs_names, columns=names)
        counts.obsm[PROTEIN_KEY] = proteins
        keys = replicates_of(batch_key="batch" if n_batches > 1 else None)
        table = correlate_with_genes(counts, proteins, keys, options, seed)
        called = ((table["spearman_lower"] > 0) | (table["spearman_upper"] < 0)).to_numpy()
        p = np.where(called, 0.0, 1.0)
        no_calls = called if planted else np.zeros(0, dtype=bool)
        yield Tested("protein goes with its gene", scenario, no_calls, all_of(len(p), planted=planted), p)


def compare_models(seed: int, *, planted: bool) -> Iterator[Tested]:
    """The interval of the difference of two models' likelihoods of held-out cells, which has heavy tails."""
    rng = np.random.default_rng([seed, 9])
    gains = rng.standard_t(3, 200) * 5 + 1.5 * planted
    difference = mean_difference(gains)
    called = np.array([difference.low > 0 or difference.high < 0])
    yield Tested("difference of two models", "200 held-out cells", called, all_of(1, planted=planted))


CAPABILITIES = (
    Capability("Latents and factors by annotation", associate_latents),
    Capability("Abundance", compare_shares, share=0.5),
    Capability("Distances between samples", compare_distances),
    Capability("Batch structure", find_batches, share=0.3),
    Capability("Clusters", find_clusters, share=0.5),
    Capability("Annotation", transfer_types, share=0.5),
    Capability("Mapping onto a reference", find_unlike_cells, share=0.5),
    Capability("Agreement of pseudotime", compare_times),
    Capability("Loops of a trajectory", find_rings),
    Capability("Proteins", correlate_proteins, share=0.5),
    Capability("Comparison of models", compare_models, share=2.0),
)
