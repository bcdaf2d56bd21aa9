"""The three tests joined: one row a gene and comparison."""

from __future__ import annotations

import pandas as pd

KEY = ["grouping", "comparison", "gene"]


def join_tests(bayesian: pd.DataFrame, wilcoxon: pd.DataFrame, pseudobulk: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns of the Bayesian test with those of the classical tests beside them.

    Parameters
    ----------
    bayesian, wilcoxon, pseudobulk
        Tables of the tests, unique by grouping, comparison and gene.

    Returns
    -------
    ``bayesian`` with ``wilcoxon_lfc``, ``wilcoxon_p``, ``wilcoxon_p_adjusted`` and the same
    of ``pseudobulk``, NaN where a test has no such gene or comparison. Adjusted p-values are over all genes
    that the test saw, not over the modelled ones.
    """
    joined = bayesian
    for name, table in (("wilcoxon", wilcoxon), ("pseudobulk", pseudobulk)):
        columns = {"lfc": f"{name}_lfc", "p_value": f"{name}_p", "p_adjusted": f"{name}_p_adjusted"}
        part = table[[*KEY, *columns]].rename(columns=columns)
        part = part.astype(dict.fromkeys(KEY, str) | dict.fromkeys(columns.values(), float))
        joined = joined.astype(dict.fromkeys(KEY, str)).merge(part, on=KEY, how="left", validate="one_to_one")
    return joined
