"""Which genes are called: those whose mean expression differs by more than the least change that counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import as_categories
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.bayesian_expression import expected_fdr
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.group_means import compare_means, normal_equivalent
from scvi_downstream.statistics.shrinkage import shrink

EVIDENCE = ["effect", "effect_lower", "effect_upper", "probability", "expected_fdr", "is_de"]
CALL_COLUMNS = ["grouping", "comparison", "gene", "unit", *EVIDENCE]


def call_comparisons(
    counts: AnnData,
    comparisons: list[Comparison],
    de_bayesian: pd.DataFrame,
    de_pseudobulk: pd.DataFrame,
    keys: Replicates,
    options: DeOptions,
) -> pd.DataFrame:
    """The rule by which genes are called, in every comparison.

    The question is whether the groups' mean expression differs by more than ``delta``. Its evidence are log fold
    changes and their errors: with samples as units where a pseudobulk test of the comparison exists, else with cells as
    units and the batches divided out. From all genes of a comparison follows how large changes are, and from that each
    gene's posterior. Genes are called as long as the expected share of false ones among them is at most ``fdr``.

    The decoder does not enter: its means of groups are smooth fits of the same counts, and with their errors known
    exactly they would raise the power by less than a hundredth (``benchmarks/de_power.py``).

    Parameters
    ----------
    counts, comparisons
        Raw counts of all genes; the comparisons of ``de_bayesian``.
    de_bayesian, de_pseudobulk
        Modelled genes by comparison; tests of the counts summed by sample, empty without samples.
    keys, options
        The obs column of batches; least change, FDR and mass of the intervals.

    Returns
    -------
    One row a modelled gene and comparison: ``unit`` ``samples`` or ``cells``, ``effect`` (log2) the posterior mean
    with its equal-tailed interval, ``probability`` that it is beyond ``delta`` on its likelier side, ``expected_fdr``
    of calling this gene and all at least as probable, ``is_de``. NaN where samples have too few
    counts of a gene to test.

    References
    ----------
    Newton et al. (2004), doi:10.1093/biostatistics/5.2.155; Squair et al. (2021), doi:10.1038/s41467-021-25960-2.
    """
    if not comparisons:
        return pd.DataFrame(columns=CALL_COLUMNS)
    genes = pd.Index(de_bayesian["gene"].unique())
    tested = dict(iter(de_pseudobulk.groupby(["grouping", "comparison"], observed=True)))
    by_cells = [each for each in comparisons if (each.grouping, each.name) not in tested]
    batches = np.zeros(counts.n_obs, dtype=np.int64)
    if keys.batch_key:
        batches = pd.Series(as_categories(counts.obs[keys.batch_key])).cat.codes.to_numpy().astype(np.int64)
    totals = np.asarray(counts.X.sum(axis=1), dtype=np.float64).ravel()
    modelled = counts.X[:, counts.var_names.get_indexer(genes)]
    means = iter(zip(*compare_means(modelled, totals, by_cells, batches), strict=True))
    tables = []
    for each in comparisons:
        table = tested.get((each.grouping, each.name))
        effect, error = next(means) if table is None else _of_samples(table, genes)
        found = shrink(effect, error, options.least_change, options.credible_interval)
        probability = np.nan_to_num(found.probability, nan=-1.0)
        expected = np.where(probability < 0, np.nan, expected_fdr(probability))
        columns = (found.mean, found.lower, found.upper, found.probability, expected, expected <= options.fdr)
        facts = {"grouping": each.grouping, "comparison": each.name, "gene": genes.to_numpy(dtype=object)}
        facts["unit"] = "cells" if table is None else "samples"
        tables.append(pd.DataFrame(facts | dict(zip(EVIDENCE, columns, strict=True))))
    return pd.concat(tables, ignore_index=True)


def _of_samples(table: pd.DataFrame, genes: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Effects and normal errors of the tests on samples, NaN for genes that were not tested."""
    found = table.set_index("gene").reindex(genes)
    effect, half_p, error = (found[name].to_numpy(dtype=np.float64) for name in ("lfc", "p_value", "lfc_se"))
    return effect, normal_equivalent(effect, half_p / 2, error)
