"""How far the three tests agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import DeOptions

CLASSICAL = ("wilcoxon", "pseudobulk")
MEASURES = ("spearman_lfc", "top_overlap", "jaccard", "confirmed")
COLUMNS = (
    "grouping", "comparison", "n_genes", "n_bayesian", "n_wilcoxon", "n_pseudobulk",
    *(f"{measure}_{test}" for test in CLASSICAL for measure in MEASURES),
)  # fmt: skip


def concordance(de_results: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Agreement of the Bayesian test with the classical ones, one row a comparison.

    Parameters
    ----------
    de_results
        The three tests joined.
    options
        FDR of a call and number of top genes.

    Returns
    -------
    ``n_*``: modelled genes, and those that each test calls at the FDR. For Wilcoxon and for
    pseudobulk, over the genes that both tests have: ``spearman_lfc`` of the fold changes; ``top_overlap``,
    the share of the Bayesian top genes that are also among the classical test's (of at most a quarter of the
    genes, as the overlap of two full lists is always 1); ``jaccard`` of the calls; ``confirmed``, the share
    of Bayesian calls that the classical test also makes, with the same sign. NaN where a test is missing or
    has no calls to compare.
    """
    rows = [
        {"grouping": grouping, "comparison": comparison, **_row(table, options)}
        for (grouping, comparison), table in de_results.groupby(
            ["grouping", "comparison"], sort=False, observed=True
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(table: pd.DataFrame, options: DeOptions) -> dict[str, Any]:
    row: dict[str, Any] = {"n_genes": len(table), "n_bayesian": int(table["is_de"].sum())}
    for test in CLASSICAL:
        both = table[table[f"{test}_p"].notna()]
        called = both[f"{test}_p_adjusted"] <= options.fdr
        row[f"n_{test}"] = int(called.sum()) if len(both) else np.nan
        row |= {
            f"{measure}_{test}": value for measure, value in _agreement(both, test, called, options).items()
        }
    return row


def _agreement(both: pd.DataFrame, test: str, called: pd.Series, options: DeOptions) -> dict[str, float]:
    if len(both) < 3:
        return {}
    bayesian = both["is_de"].astype(bool)
    same_sign = np.sign(both[f"{test}_lfc"]) == np.sign(both["lfc_median"])
    n_either = (bayesian | called).sum()
    n_top = min(options.top_genes, max(len(both) // 4, 1))
    probable = both.assign(size=both["lfc_median"].abs()).sort_values(
        ["proba_de", "size"], ascending=False, kind="stable"
    )
    significant = both.assign(size=both[f"{test}_lfc"].abs()).sort_values(
        [f"{test}_p", "size"], ascending=[True, False], kind="stable"
    )
    overlap = set(probable["gene"].head(n_top)) & set(significant["gene"].head(n_top))
    return {
        "spearman_lfc": both["lfc_median"].corr(both[f"{test}_lfc"], method="spearman"),
        "top_overlap": len(overlap) / n_top,
        "jaccard": (bayesian & called).sum() / n_either if n_either else np.nan,
        "confirmed": (bayesian & called & same_sign).sum() / bayesian.sum() if bayesian.any() else np.nan,
    }
