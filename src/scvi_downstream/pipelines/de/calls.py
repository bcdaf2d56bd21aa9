"""Which genes are called: those whose mean expression differs by more than the least change that counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import batch_codes
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.bayesian_expression import expected_fdr
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.group_means import compare_means, normal_equivalent
from scvi_downstream.statistics.shrinkage import shrink
from scvi_downstream.statistics.testing import storey_q

EVIDENCE = ["effect", "effect_lower", "effect_upper", "probability", "expected_fdr", "is_de"]
CALL_COLUMNS = ["grouping", "comparison", "gene", "unit", *EVIDENCE]


def call_comparisons(
    counts: AnnData,
    comparisons: list[Comparison],
    genes: pd.Index,
    de_pseudobulk: pd.DataFrame,
    keys: Replicates,
    options: DeOptions,
) -> pd.DataFrame:
    """The rule by which genes are called, in every comparison.

    The question is whether the groups' mean expression differs by more than ``delta``. All genes of a comparison say
    how large differences are, and from that and the gene's own log fold change and error follows its posterior.

    Where a pseudobulk test of the comparison exists, samples are the units: genes are called at a q-value of ``fdr`` of
    that test if the difference is more likely than not beyond ``delta``; samples are too few for a posterior to be
    as sure as the test is. Elsewhere cells are the units and batches divided out: there tests find differences however
    small, and genes are called as long as the expected share of those among them that are not beyond ``delta`` is at
    most ``fdr``.

    The decoder does not enter: its means of groups are smooth fits of the same counts, and with their errors known
    exactly they would raise the power at the same error by less than a hundredth (``benchmarks/de_power.py``).

    Parameters
    ----------
    counts, comparisons, genes
        Raw counts of all genes; pairs of groups; the genes to call, which are those of the model.
    de_pseudobulk
        Tests of the counts summed by sample, by comparison; empty without samples.
    keys, options
        The obs column of batches; least change, FDR and mass of the intervals.

    Returns
    -------
    One row a gene and comparison: ``unit`` ``samples`` or ``cells``, ``effect`` (log2) the posterior mean
    with its equal-tailed interval, ``probability`` that it is beyond ``delta`` on its likelier side, ``expected_fdr``,
    the expected share of false ones in calling this gene and all with as much evidence, ``is_de``. NaN where samples
    have too few counts of a gene to test.

    References
    ----------
    Newton et al. (2004), doi:10.1093/biostatistics/5.2.155; Storey, Taylor & Siegmund (2004),
    doi:10.1111/j.1467-9868.2004.00439.x; Squair et al. (2021), doi:10.1038/s41467-021-25960-2.
    """
    if not comparisons:
        return pd.DataFrame(columns=CALL_COLUMNS)
    tested = dict(iter(de_pseudobulk.groupby(["grouping", "comparison"], observed=True)))
    by_cells = [each for each in comparisons if (each.grouping, each.name) not in tested]
    totals = np.asarray(counts.X.sum(axis=1), dtype=np.float64).ravel()
    modelled = counts.X[:, counts.var_names.get_indexer(genes)]
    means = iter(zip(*compare_means(modelled, totals, by_cells, batch_codes(counts.obs, keys)), strict=True))
    tables = []
    for each in comparisons:
        table = tested.get((each.grouping, each.name))
        p = None
        if table is None:
            effect, error = next(means)
        else:
            effect, error, p = _of_samples(table, genes)
        found = shrink(effect, error, options.least_change, options.credible_interval)
        expected = expected_fdr(found.probability) if p is None else storey_q(p)
        is_de = found.called(expected, options.fdr)
        columns = (found.mean, found.lower, found.upper, found.probability, expected, is_de)
        facts = {"grouping": each.grouping, "comparison": each.name, "gene": genes.to_numpy(dtype=object)}
        facts["unit"] = "cells" if p is None else "samples"
        tables.append(pd.DataFrame(facts | dict(zip(EVIDENCE, columns, strict=True))))
    return pd.concat(tables, ignore_index=True)


def _of_samples(table: pd.DataFrame, genes: pd.Index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects, normal errors and p-values of the tests on samples, NaN for genes that were not tested."""
    found = table.set_index("gene").reindex(genes)
    effect, p, error = (found[name].to_numpy(dtype=np.float64) for name in ("lfc", "p_value", "lfc_se"))
    return effect, normal_equivalent(effect, p / 2, error), p
