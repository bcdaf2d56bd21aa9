"""Marker genes of clusters and labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.parameters import DeOptions

COLUMNS = (
    "grouping", "group", "rank", "gene", "score", "lfc_median", "proba_de", "expected_fdr",
    "fraction1", "fraction2", "specificity", "mean1", "mean2", "wilcoxon_p_adjusted", "called_by",
)  # fmt: skip


def rank_markers(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Genes that are higher in a group than in the rest, and seen in more of its cells.

    A marker has a median log2 fold change of ``min_lfc``, a count in ``min_fraction`` of the group's cells,
    in ``min_fraction_difference`` more of them than of the rest, and passes ``fdr``, the Bayesian expected
    one or Wilcoxon's. (A cell of the group and a cell of a mixed rest often share a true marker, so that the
    Bayesian test alone leaves groups that have sisters without markers.) Bayesian calls rank first; within
    them and within the others the score ranks: proba_de x log2 fold change x specificity, where specificity
    is fraction1 - fraction2.

    Parameters
    ----------
    de_results
        The tests joined; only comparisons of clusters and labels with the rest are used.
    options
        Thresholds and number of markers a group.

    Returns
    -------
    One row a marker, by grouping, group and rank (1 is best); ``called_by`` is ``both``, ``bayesian`` or
    ``wilcoxon``.
    """
    limits = options.markers
    groups = de_results[de_results["grouping"].isin(["clusters", "labels"])]
    bayesian = groups["expected_fdr"] <= limits.fdr
    wilcoxon = groups["wilcoxon_p_adjusted"] <= limits.fdr
    specificity = groups["fraction1"] - groups["fraction2"]
    effect = (
        (groups["lfc_median"] >= limits.min_lfc)
        & (groups["fraction1"] >= limits.min_fraction)
        & (specificity >= limits.min_fraction_difference)
    )
    candidates = groups.assign(
        group=groups["group1"],
        specificity=specificity,
        score=groups["proba_de"] * groups["lfc_median"] * specificity,
        called_by=np.select([bayesian & wilcoxon, bayesian], ["both", "bayesian"], "wilcoxon"),
        by_wilcoxon_alone=~bayesian,
        position=groups.groupby(["grouping", "group1"], sort=False, observed=True).ngroup(),
    )
    ranked = candidates[effect & (bayesian | wilcoxon)].sort_values(
        ["position", "by_wilcoxon_alone", "score"], ascending=[True, True, False], kind="stable"
    )
    ranked["rank"] = ranked.groupby("position").cumcount() + 1
    return ranked.loc[ranked["rank"] <= limits.max_per_group, list(COLUMNS)].reset_index(drop=True)
