"""DESeq2 on counts summed by sample, where the sample and not the cell is the replicate."""

from __future__ import annotations

import logging
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.progress import Progress, duration
from scvi_downstream.statistics.comparisons import Comparison

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
COLUMNS = (
    "grouping", "comparison", "gene", "lfc", "lfc_se", "statistic", "p_value", "p_adjusted",
    "n_samples1", "n_samples2",
)  # fmt: skip
MIN_COUNTS_PER_GENE = 10


def compare_pseudobulk(
    counts: AnnData, sample_key: str, comparisons: list[Comparison], options: DeOptions
) -> pd.DataFrame:
    """Wald tests of the groups' effect on counts summed by sample and group.

    Samples with cells in both groups enter as pairs (design ``~ sample + group``), otherwise samples of one
    group are compared with samples of the other (``~ group``). A sum is used when it has
    ``min_cells_per_sample`` cells, a gene when it has 10 counts in as many sums as the smaller group has
    samples.

    Parameters
    ----------
    counts
        Raw counts of all genes.
    sample_key
        obs column that names the sample (donor, library) of each cell.
    comparisons
        Pairs of groups.
    options
        Smallest numbers of samples a group and cells a sample.

    Returns
    -------
    One row a gene tested and comparison: ``lfc`` (log2) and its standard error, Wald
    ``statistic``, p-value (missing for a gene with a count outlier by Cook's distance) and Benjamini &
    Hochberg's adjusted one, numbers of samples.

    References
    ----------
    Love, Huber & Anders (2014), doi:10.1186/s13059-014-0550-8; Muzellec et al. (2023),
    doi:10.1093/bioinformatics/btad547; Squair et al. (2021), doi:10.1038/s41467-021-25960-2.
    """
    samples = counts.obs[sample_key].astype("category")
    designs = {i: pair_samples(comparison, samples, options) for i, comparison in enumerate(comparisons)}
    enough = [i for i, design in designs.items() if _smaller_group(design) >= options.min_samples_per_group]
    too_few = [comparisons[i].name for i in designs if i not in enough]
    if too_few:
        logger.info(
            "no pseudobulk test, a group having fewer than %d samples of %d cells: %s",
            options.min_samples_per_group,
            options.min_cells_per_sample,
            ", ".join(too_few),
        )
    progress = Progress("pseudobulk tests", len(enough))
    tables = []
    for position, i in enumerate(enough):
        start = time.perf_counter()
        tables.append(_test(counts, comparisons[i], samples, designs[i]))
        if position == 0:
            seconds = (time.perf_counter() - start) * len(enough)
            logger.info("pseudobulk tests: %d comparisons, about %s", len(enough), duration(seconds))
        progress.advance()
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def pair_samples(comparison: Comparison, samples: pd.Series, options: DeOptions) -> pd.DataFrame:
    """The sums to test: one row a sample and group, columns ``sample`` and ``group`` (``first``, ``second``).

    If enough samples have cells in both groups only they are used, as pairs; otherwise those in one group
    only, for a sample on both sides would count as two independent ones.
    """
    n_cells = pd.DataFrame(
        {
            group: np.bincount(samples.cat.codes.to_numpy()[cells], minlength=len(samples.cat.categories))
            for group, cells in (("first", comparison.cells1), ("second", comparison.cells2))
        },
        index=samples.cat.categories.astype(str),
    )
    usable = n_cells >= options.min_cells_per_sample
    both = usable.all(axis=1)
    used = both if both.sum() >= options.min_samples_per_group else usable.sum(axis=1) == 1
    stacked = usable[used].stack()
    rows = stacked.index[stacked.to_numpy()]
    return pd.DataFrame({"sample": rows.get_level_values(0), "group": rows.get_level_values(1)})


def fit_deseq2(sums: np.ndarray, genes: pd.Index, design: pd.DataFrame) -> pd.DataFrame:
    """DESeq2's Wald test of ``first`` against ``second``.

    Parameters
    ----------
    sums
        ``(n_sums, n_genes)`` integer counts.
    genes
        Names of the ``n_genes`` genes.
    design
        ``n_sums`` rows with columns ``sample`` and ``group``; samples that come twice make the design paired.

    Returns
    -------
    Genes × (lfc, lfc_se, statistic, p_value, p_adjusted).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats

        names = pd.Index([f"sum{i}" for i in range(len(design))])
        metadata = pd.DataFrame(
            {
                "sample": pd.Categorical("s" + pd.Series(design["sample"].factorize()[0]).astype(str)),
                "group": pd.Categorical(design["group"], categories=["second", "first"]),
            }
        ).set_index(names)
        inference = DefaultInference(n_cpus=1)
        fit = DeseqDataSet(
            counts=pd.DataFrame(sums, index=names, columns=genes),
            metadata=metadata,
            design="~ sample + group" if _is_paired(design) else "~ group",
            # Ratios need a gene that is counted in every sum; shallow data may have none.
            size_factors_fit_type="ratio" if (sums > 0).all(axis=0).sum() >= 10 else "poscounts",
            inference=inference,
            quiet=True,
        )
        fit.deseq2()
        test = DeseqStats(
            fit,
            contrast=["group", "first", "second"],
            inference=inference,
            independent_filter=False,
            quiet=True,
        )
        test.summary()
    names_here = {
        "log2FoldChange": "lfc",
        "lfcSE": "lfc_se",
        "stat": "statistic",
        "pvalue": "p_value",
        "padj": "p_adjusted",
    }
    return test.results_df[list(names_here)].rename(columns=names_here)


def _is_paired(design: pd.DataFrame) -> bool:
    return bool(design["sample"].duplicated().any())


def _smaller_group(design: pd.DataFrame) -> int:
    return int(min((design["group"] == group).sum() for group in ("first", "second")))


def _test(counts: AnnData, comparison: Comparison, samples: pd.Series, design: pd.DataFrame) -> pd.DataFrame:
    of_cell = samples.astype(str).to_numpy()
    side = {"first": comparison.cells1, "second": comparison.cells2}
    indicator = sparse.csr_matrix(
        np.array([side[row.group] & (of_cell == row.sample) for row in design.itertuples()]), dtype=np.float64
    )
    sums = np.rint((indicator @ counts.X).toarray()).astype(np.int64)
    counted = (sums >= MIN_COUNTS_PER_GENE).sum(axis=0) >= _smaller_group(design)
    if counted.sum() < 2:
        logger.info("no pseudobulk test of %s: %d genes have counts enough", comparison.name, counted.sum())
        return pd.DataFrame(columns=list(COLUMNS))
    table = fit_deseq2(sums[:, counted], counts.var_names[counted], design).rename_axis("gene").reset_index()
    table["grouping"], table["comparison"] = comparison.grouping, comparison.name
    table["n_samples1"] = int((design["group"] == "first").sum())
    table["n_samples2"] = int((design["group"] == "second").sum())
    return table.sort_values("p_value", kind="stable")[list(COLUMNS)]
