"""Which groups of cells are compared, by which tests, and what the tests say together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import reference_condition
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.de.calls import call_comparisons
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS, compare_pseudobulk
from scvi_downstream.pipelines.de.wilcoxon import WILCOXON_COLUMNS, compare_wilcoxon
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.bayesian_expression import compare_bayesian
from scvi_downstream.statistics.comparisons import Comparison, keep_large, known_categories, one_vs_rest

logger = logging.getLogger(__name__)
KEY = ["grouping", "comparison", "gene"]
CONCORDANCE_COLUMNS = [
    "grouping", "comparison", "unit", "n_genes", "n_called", "n_bayesian", "n_wilcoxon", "n_pseudobulk",
    "same_direction", "spearman_lfc_wilcoxon", "top_overlap_wilcoxon", "jaccard_wilcoxon", "confirmed_wilcoxon",
    "spearman_lfc_pseudobulk", "top_overlap_pseudobulk", "jaccard_pseudobulk", "confirmed_pseudobulk",
]  # fmt: skip
MARKER_COLUMNS = [
    "grouping", "group", "rank", "gene", "score", "effect", "effect_lower", "effect_upper", "probability",
    "expected_fdr", "fraction1", "fraction2", "specificity", "mean1", "mean2", "lfc_median", "proba_de",
    "wilcoxon_p_adjusted",
]  # fmt: skip


def find_comparisons(
    counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions
) -> list[Comparison]:
    """Every comparison of the study, those with too few cells included.

    Parameters
    ----------
    counts, clusters
        Counts whose obs holds the study's keys; cells × clusterings, in the order of ``counts``.
    keys
        The obs columns that the study names.
    options
        One-vs-rest groupings, pairs, and whether conditions are compared.

    Raises
    ------
    InputError
        If a pair names a column or group that does not exist.
    """
    obs = counts.obs
    comparisons: list[Comparison] = []
    if "clusters" in options.groupings:
        comparisons += one_vs_rest("clusters", clusters["leiden"])
    if "labels" in options.groupings and keys.label_key:
        comparisons += one_vs_rest("labels", obs[keys.label_key])
    comparisons += [_compare_pair(obs, clusters, *pair) for pair in options.pairs]
    if options.conditions and keys.condition_key:
        cell_types = obs[keys.label_key] if keys.label_key else clusters["leiden"]
        comparisons += _compare_conditions(obs[keys.condition_key], cell_types)
    return comparisons


def _compare_pair(
    obs: pd.DataFrame, clusters: pd.DataFrame, column: str, group1: str, group2: str
) -> Comparison:
    tables = [table for table in (clusters, obs) if column in table]
    if not tables:
        known = closest(column, [*clusters.columns, *obs.columns])
        raise InputError(
            f"de.pairs names the column '{column}', which is neither a clustering nor in obs{known}"
        )
    groups = tables[0][column].astype(str).to_numpy()
    for group in (group1, group2):
        if group not in groups:
            raise InputError(
                f"de.pairs names the group '{group}' of '{column}'{closest(group, np.unique(groups))}"
            )
    if group1 == group2:
        raise InputError(f"de.pairs compares the group '{group1}' of '{column}' with itself; name two groups")
    name = f"{column}: {group1} vs {group2}"
    return Comparison("pairs", name, group1, group2, groups == group1, groups == group2)


def _compare_conditions(conditions: pd.Series, cell_types: pd.Series) -> Iterator[Comparison]:
    """Each condition against the reference, over all cells and then inside each cell type."""
    names = known_categories(conditions)
    if len(names) < 2:
        logger.info(
            "condition column '%s' has the one value %s: no conditions to compare", conditions.name, names
        )
        return
    reference = reference_condition(names)
    values, types = (column.astype(str).to_numpy() for column in (conditions, cell_types))
    places = [("condition", "", np.ones(len(values), dtype=bool))]
    places += [("condition_by_type", f"{name}: ", types == name) for name in known_categories(cell_types)]
    for grouping, prefix, inside in places:
        for other in names:
            if other != reference:
                name = f"{prefix}{other} vs {reference}"
                cells1, cells2 = inside & (values == other), inside & (values == reference)
                yield Comparison(grouping, name, other, reference, cells1, cells2, inside)


def _large_comparisons(
    counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions
) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons with cells enough on both sides, and the others."""
    return keep_large(find_comparisons(counts, clusters, keys, options), options.min_cells_per_group)


def log_left_out(left_out: list[Comparison], min_cells: int) -> None:
    """One line that names what is not compared, with the sizes of its groups."""
    if left_out:
        named = ", ".join(f"{each.grouping} {each.name} ({each.n1} and {each.n2} cells)" for each in left_out)
        logger.info(
            "left out of differential expression, a group having fewer than %d cells: %s", min_cells, named
        )


def rank_bayesian(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: DeOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Bayesian differential expression of the modelled genes; see `bayesian_expression.compare_bayesian`."""
    comparisons, left_out = _large_comparisons(counts, clusters, keys, options)
    log_left_out(left_out, options.min_cells_per_group)
    return compare_bayesian(fitted.attach(counts, accelerator), comparisons, options.bayesian, seed)


def rank_wilcoxon(counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: DeOptions) -> pd.DataFrame:
    """Rank-sum tests of all genes; see `wilcoxon.compare_wilcoxon`. Empty where they are not asked for."""
    if not options.wilcoxon:
        return pd.DataFrame(columns=WILCOXON_COLUMNS)
    comparisons, _ = _large_comparisons(counts, clusters, keys, options)
    return compare_wilcoxon(log_normalize(counts), counts.var_names, comparisons)


def rank_pseudobulk(
    counts: AnnData, clusters: pd.DataFrame, keys: Replicates, options: DeOptions
) -> pd.DataFrame:
    """Tests on counts summed by sample; see `pseudobulk.compare_pseudobulk`. Empty without a sample key."""
    if not options.pseudobulk or not keys.sample_key:
        missing = "sample_key is not set" if options.pseudobulk else "de.pseudobulk is false"
        logger.info("no pseudobulk tests: %s", missing)
        return pd.DataFrame(columns=PSEUDOBULK_COLUMNS)
    comparisons, _ = _large_comparisons(counts, clusters, keys, options)
    return compare_pseudobulk(counts, comparisons, keys)


def call_genes(
    counts: AnnData,
    clusters: pd.DataFrame,
    de_bayesian: pd.DataFrame,
    de_pseudobulk: pd.DataFrame,
    keys: Replicates,
    options: DeOptions,
) -> pd.DataFrame:
    """The genes that are called, and by which evidence; see `calls.call_comparisons`."""
    comparisons, _ = _large_comparisons(counts, clusters, keys, options)
    genes = pd.Index(de_bayesian["gene"].unique())
    return call_comparisons(counts, comparisons, genes, de_pseudobulk, keys, options)


def combine_results(
    de_bayesian: pd.DataFrame, de_calls: pd.DataFrame, de_wilcoxon: pd.DataFrame, de_pseudobulk: pd.DataFrame
) -> pd.DataFrame:
    """The calls, with the columns of the Bayesian test and of the classical ones beside them.

    Parameters
    ----------
    de_bayesian, de_calls, de_wilcoxon, de_pseudobulk
        Calls and tables of the tests, unique by grouping, comparison and gene.

    Returns
    -------
    The columns of ``de_calls``, in each comparison the most probable genes first; those of ``de_bayesian``, of which
    ``expected_fdr`` and ``is_de`` become ``pairs_expected_fdr`` and ``pairs_is_de``, for they are of pairs of cells;
    ``wilcoxon_lfc``, ``wilcoxon_p``, ``wilcoxon_p_adjusted`` and the same of ``pseudobulk``, NaN where a test has no
    such gene or comparison. Adjusted p-values are over all genes that the test saw, not over the modelled ones.
    """
    pairs = {"expected_fdr": "pairs_expected_fdr", "is_de": "pairs_is_de"}
    joined = de_bayesian.astype(dict.fromkeys(KEY, str)).rename(columns=pairs)
    joined = de_calls.astype(dict.fromkeys(KEY, str)).merge(
        joined, on=KEY, how="inner", validate="one_to_one"
    )
    for name, table in (("wilcoxon", de_wilcoxon), ("pseudobulk", de_pseudobulk)):
        columns = {"lfc": f"{name}_lfc", "p_value": f"{name}_p", "p_adjusted": f"{name}_p_adjusted"}
        part = table[[*KEY, *columns]].rename(columns=columns)
        part = part.astype(dict.fromkeys(KEY, str) | dict.fromkeys(columns.values(), float))
        joined = joined.merge(part, on=KEY, how="left", validate="one_to_one")
    place = joined.groupby(KEY[:2], sort=False, observed=True).ngroup()
    order = np.lexsort((-joined["effect"].abs(), -joined["probability"], place))
    return joined.iloc[order].reset_index(drop=True)


def tabulate_concordance(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Agreement of the calls, the model and the classical tests, one row a comparison.

    Parameters
    ----------
    de_results, options
        The three tests joined; FDR of a call and number of top genes.

    Returns
    -------
    ``unit`` of the calls; ``n_*``: modelled genes, and those that are called, by the rule (``n_called``), by pairs of
    cells (``n_bayesian``) and by each classical test at the FDR; ``same_direction``, the share of the calls for which
    the model's median fold change has the sign of the effect. For Wilcoxon and for pseudobulk, over the genes that
    both have: ``spearman_lfc`` of the model's median fold changes with theirs; ``top_overlap``, the share of the most
    probable genes that are also among the classical test's (of at most a quarter of the genes, as the overlap of two
    full lists is always 1); ``jaccard`` of the calls; ``confirmed``, the share of the calls that the classical test
    makes, too, with the same sign. NaN where a test is missing or has no calls to compare.
    """
    rows = []
    for (grouping, comparison), table in de_results.groupby(KEY[:2], sort=False, observed=True):
        called = table[table["is_de"]]
        agreeing = np.sign(called["effect"]) == np.sign(called["lfc_median"])
        numbers: dict[str, Any] = {
            "unit": table["unit"].iloc[0],
            "n_genes": len(table),
            "n_called": len(called),
            "n_bayesian": int(table["pairs_is_de"].sum()),
            "same_direction": agreeing.mean() if len(called) else np.nan,
        }
        for test in ("wilcoxon", "pseudobulk"):
            agreement = _measure_agreement(table, test, options)
            numbers |= {f"{measure}_{test}": value for measure, value in agreement.items()}
        rows.append({"grouping": grouping, "comparison": comparison, **numbers})
    return pd.DataFrame(rows, columns=CONCORDANCE_COLUMNS)


def _measure_agreement(table: pd.DataFrame, test: str, options: DeOptions) -> dict[str, float]:
    both = table[table[f"{test}_p"].notna()]
    called = both[f"{test}_p_adjusted"] <= options.fdr
    if len(both) < 3:
        return {"n": int(called.sum()) if len(both) else np.nan}
    by_rule = both["is_de"].astype(bool)
    lfc = both[f"{test}_lfc"]
    same_sign = np.sign(lfc) == np.sign(both["effect"])
    n_either = (by_rule | called).sum()
    n_top = min(options.top_genes, max(len(both) // 4, 1))
    significant = both.assign(size=-lfc.abs()).sort_values([f"{test}_p", "size"], kind="stable")
    overlap = set(both["gene"].head(n_top)) & set(significant["gene"].head(n_top))
    return {
        "n": int(called.sum()),
        "spearman_lfc": both["lfc_median"].corr(lfc, method="spearman"),
        "top_overlap": len(overlap) / n_top,
        "jaccard": (by_rule & called).sum() / n_either if n_either else np.nan,
        "confirmed": (by_rule & called & same_sign).sum() / by_rule.sum() if by_rule.any() else np.nan,
    }


def select_markers(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Called genes that are higher in a group than in the rest, and seen in more of its cells.

    A marker is called, also at its own ``fdr``, and has an effect of ``min_lfc`` (log2), a count in ``min_fraction`` of
    the group's cells and in ``min_fraction_difference`` more of them than of the rest. The score ranks: probability x
    effect x specificity, where specificity is fraction1 - fraction2.

    Parameters
    ----------
    de_results
        Calls and tests joined; only comparisons of clusters and labels with the rest are used.
    options
        Thresholds and number of markers a group.

    Returns
    -------
    One row a marker, by grouping, group and rank (1 is best).
    """
    limits = options.markers
    groups = de_results[de_results["grouping"].isin(["clusters", "labels"])]
    specificity = groups["fraction1"] - groups["fraction2"]
    found = (
        groups["is_de"].astype(bool)
        & (groups["expected_fdr"] <= limits.fdr)
        & (groups["effect"] >= limits.min_lfc)
        & (groups["fraction1"] >= limits.min_fraction)
        & (specificity >= limits.min_fraction_difference)
    )
    candidates = groups.assign(
        group=groups["group1"],
        specificity=specificity,
        score=groups["probability"] * groups["effect"] * specificity,
        position=groups.groupby(["grouping", "group1"], sort=False, observed=True).ngroup(),
    )
    ranked = candidates[found].sort_values(["position", "score"], ascending=[True, False], kind="stable")
    ranked["rank"] = ranked.groupby("position").cumcount() + 1
    return ranked.loc[ranked["rank"] <= limits.max_per_group, MARKER_COLUMNS].reset_index(drop=True)
