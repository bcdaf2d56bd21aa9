"""What differential expression calls on real cells, beside what is known of them from elsewhere.

    python benchmarks/de_studies.py FOLDER

The folder holds kang_ifnb.h5ad (Kang 2018), pbmc3k.h5ad, cell_lines.h5ad (Tian 2019), citeseq_pbmc.h5ad and
worm_embryo.h5ad (Packer 2019); files that are not there are left out. ``de_power.py --data FOLDER`` puts the tables onto
its page. About ten minutes on one core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import clr, log_normalize
from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit
from scvi_downstream.pipelines.de.calls import call_comparisons
from scvi_downstream.pipelines.de.nodes import combine_results, find_comparisons
from scvi_downstream.pipelines.de.options import LEAST_CHANGE, DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS, compare_pseudobulk
from scvi_downstream.pipelines.de.wilcoxon import compare_wilcoxon
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.statistics.bayesian_expression import compare_bayesian
from scvi_downstream.statistics.comparisons import Comparison, keep_large
from scvi_downstream.statistics.group_means import compare_means
from scvi_downstream.study.defaults import default_model, defaults_of, replicates_of

KEYS: dict[str, dict[str, str]] = {
    "kang_ifnb": {
        "batch_key": "donor",
        "sample_key": "donor",
        "condition_key": "condition",
        "label_key": "cell_type_transferred",
    },
    "pbmc3k": {"label_key": "cell_type"},
    "cell_lines": {"batch_key": "batch", "label_key": "cell_line"},
    "citeseq_pbmc": {"batch_key": "batch"},
    "worm_embryo": {"batch_key": "batch", "label_key": "cell_type"},
}
CALLED = {"calls": "is_de", "pairs of cells": "pairs_is_de", "Wilcoxon": "wilcoxon_p_adjusted", "pseudobulk": "pseudobulk_p_adjusted"}  # fmt: skip
# Induced by interferon beta in every type: the core of Mostafavi et al. (2016), doi:10.1016/j.cell.2015.12.032, and of
# Kang et al. (2018), doi:10.1038/nbt.4042, figure 3.
INTERFERON = frozenset(
    [
        "ISG15",
        "ISG20",
        "IFI6",
        "IFI27",
        "IFI35",
        "IFI44",
        "IFI44L",
        "IFI16",
        "IFIT1",
        "IFIT2",
        "IFIT3",
        "IFIT5",
        "IFITM1",
        "IFITM2",
        "IFITM3",
        "MX1",
        "MX2",
        "OAS1",
        "OAS2",
        "OAS3",
        "OASL",
        "IRF7",
        "IRF8",
        "IRF9",
        "STAT1",
        "STAT2",
        "RSAD2",
        "LY6E",
        "EPSTI1",
        "HERC5",
        "HERC6",
        "USP18",
        "CXCL10",
        "CXCL11",
        "CMPK2",
        "XAF1",
        "SAMD9",
        "SAMD9L",
        "PLSCR1",
        "TNFSF10",
        "RTP4",
        "CCL8",
        "CCL2",
        "CCL7",
        "APOBEC3A",
        "APOBEC3B",
        "BST2",
        "SP100",
        "SP110",
        "PARP9",
        "PARP12",
        "PARP14",
        "EIF2AK2",
        "DDX58",
        "IFIH1",
        "DDX60",
        "UBE2L6",
        "B2M",
        "GBP1",
        "GBP4",
        "GBP5",
        "TRIM22",
        "TRIM25",
        "LGALS9",
        "LAP3",
        "PSMB9",
        "TYMP",
        "DYNLT1",
        "SOCS1",
        "IDO1",
        "IL1RN",
        "WARS",
        "LAMP3",
        "PNPT1",
        "TAP1",
        "NT5C3A",
        "DRAP1",
        "ZBP1",
    ]
)
GENE_OF_PROTEIN = {
    "CD3": "CD3E", "CD4": "CD4", "CD8a": "CD8A", "CD14": "CD14", "CD16": "FCGR3A", "CD19": "CD19", "CD25": "IL2RA",
    "CD56": "NCAM1", "CD127": "IL7R", "PD-1": "PDCD1", "TIGIT": "TIGIT",
}  # fmt: skip


def results_of(
    counts: anndata.AnnData, clusters: pd.DataFrame, keys: Replicates, model: Any
) -> tuple[pd.DataFrame, list[Comparison], tuple[float, float]]:
    """All tests and calls of the study, joined; its comparisons; seconds of the processor of tests and of calls."""
    options = defaults_of(DeOptions, groupings=("labels",) if keys.label_key else ("clusters",))
    comparisons, _ = keep_large(
        find_comparisons(counts, clusters, keys, options), options.min_cells_per_group
    )
    started = time.process_time()
    stock = compare_bayesian(model, comparisons, options.bayesian, 0)
    ranked = compare_wilcoxon(log_normalize(counts), counts.var_names, comparisons)
    tested = pd.DataFrame(columns=PSEUDOBULK_COLUMNS)
    if keys.sample_key:
        tested = compare_pseudobulk(counts, comparisons, keys)
    done = time.process_time()
    calls = call_comparisons(counts, comparisons, pd.Index(stock["gene"].unique()), tested, keys, options)
    seconds = done - started, time.process_time() - done
    return combine_results(stock, calls, ranked, tested), comparisons, seconds


def study_of(cells: anndata.AnnData, name: str) -> tuple[anndata.AnnData, pd.DataFrame, Replicates, Any]:
    """Prepared counts, clusters where there are no labels, keys, and scVI as the project trains it."""
    import scanpy as sc

    keys = replicates_of(**KEYS[name])
    single = Keys(**KEYS[name])
    counts, _, _ = prepare_counts(cells, None, single, defaults_of(PreparationOptions))
    spec = default_model()
    modelled = counts[:, counts.var["highly_variable"]].copy()
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        model = build_and_fit(modelled, spec, single, seed=0, accelerator="cpu", checkpoints=store).model
    if keys.label_key:
        groups = counts.obs[keys.label_key]
    else:
        modelled.obsm["latent"] = model.get_latent_representation()
        sc.pp.neighbors(modelled, use_rep="latent")
        sc.tl.leiden(modelled, flavor="igraph", n_iterations=2, directed=False)
        groups = modelled.obs["leiden"]
    return counts, pd.DataFrame({"leiden": groups.astype(str)}, index=counts.obs_names), keys, model


def is_called(table: pd.DataFrame, column: str) -> pd.Series:
    """What one method calls; adjusted p-values at 0.05."""
    return table[column] if table[column].dtype == bool else table[column] <= 0.05


def call_lines(name: str, results: pd.DataFrame, seconds: tuple[float, float]) -> Iterator[str]:
    """Calls of each method by grouping, fewest to most of a comparison."""
    cost = " + ".join(f"{each:.1f}" for each in seconds)
    for grouping, table in results.groupby("grouping", sort=False):
        spans = []
        for column in CALLED.values():
            numbers = is_called(table, column).groupby(table["comparison"], sort=False).sum()
            missing = table[column].isna().all()
            spans.append("" if missing else f"{numbers.min()}–{numbers.max()} ({numbers.median():.0f})")
        n = table["comparison"].nunique()
        yield f"| {name} | {grouping} | {n} | {' | '.join(spans)} | {table['unit'].iloc[0]} | {cost} |"


def interferon_lines(results: pd.DataFrame) -> Iterator[str]:
    """Interferon genes among the first ten of each type, of several methods."""
    inside = results[results["grouping"].isin(["condition", "condition_by_type"])]
    for comparison, table in inside.groupby("comparison", sort=False):
        by_pairs = table.sort_values(["proba_de", "lfc_median"], key=np.abs, ascending=False, kind="stable")
        first = {
            "calls": table["gene"].head(10),
            "pairs": by_pairs["gene"].head(10),
            "Wilcoxon": table.sort_values("wilcoxon_p", kind="stable")["gene"].head(10),
            "pseudobulk": table.sort_values("pseudobulk_p", kind="stable")["gene"].head(10),
        }
        found = " | ".join(f"{genes.isin(INTERFERON).sum()}" for genes in first.values())
        n_called = int(table["is_de"].sum())
        yield f"| {comparison} | {n_called} | {found} | {', '.join(first['calls'])} |"


def platform_lines(cells: anndata.AnnData) -> Iterator[str]:
    """Of calls between cell lines on CEL-seq2, how many come back on Drop-seq, and how many of those that do are called."""
    other = cells.obs["batch"].astype(str).str.contains("rop").to_numpy()
    counts, clusters, keys, model = study_of(cells[~other].copy(), "cell_lines")
    results, comparisons, _ = results_of(counts, clusters, keys, model)
    held_out = cells[other].copy()
    genes = results["gene"].unique()
    totals = np.asarray(held_out.X.sum(axis=1), dtype=np.float64).ravel()
    groups = held_out.obs[keys.label_key].astype(str).to_numpy()
    named = [(each.name, groups == each.group1) for each in comparisons]
    again = [Comparison("labels", name, "a", "b", first, ~first, first | ~first) for name, first in named]
    effects, errors = compare_means(
        held_out[:, genes].X.tocsr(), totals, again, np.zeros(held_out.n_obs, dtype=int)
    )
    sure = [pd.DataFrame({"comparison": name, "gene": genes, "there": effect, "error": error})
            for (name, _), effect, error in zip(named, effects, errors, strict=True)]  # fmt: skip
    both = results.merge(pd.concat(sure), on=["comparison", "gene"])
    both = both[both["error"] < 0.2]
    changes = both["there"].abs() > LEAST_CHANGE
    for method, column in CALLED.items():
        if both[column].isna().all():
            continue
        called = is_called(both, column)
        sign = np.sign(both["wilcoxon_lfc" if method == "Wilcoxon" else "effect"]) == np.sign(both["there"])
        right = called & changes & sign
        yield f"| {method} | {called.sum()} | {right.sum() / max(called.sum(), 1):.0%} | {right.sum() / changes.sum():.0%} |"


def protein_lines(
    counts: anndata.AnnData, results: pd.DataFrame, comparisons: list[Comparison]
) -> Iterator[str]:
    """Of genes whose protein differs between a cluster and the rest, how many are called, and in its direction."""
    proteins = counts.obsm["protein_expression"]
    ratios = clr(proteins.to_numpy(dtype=float))
    rows = []
    for each in comparisons:
        for i, protein in enumerate(proteins.columns):
            gene = GENE_OF_PROTEIN.get(str(protein).split("_")[0])
            difference = ratios[each.cells1, i].mean() - ratios[each.cells2, i].mean()
            if gene and abs(difference) > 0.5:
                rows.append({"comparison": each.name, "gene": gene, "protein": difference})
    both = results.merge(pd.DataFrame(rows), on=["comparison", "gene"])
    for method, column in CALLED.items():
        if both[column].isna().all():
            continue
        called = is_called(both, column)
        sign = np.sign(both["wilcoxon_lfc" if method == "Wilcoxon" else "effect"]) == np.sign(both["protein"])
        yield f"| {method} | {len(both)} | {called.sum()} | {(called & sign).sum()} |"


def tables_of(folder: Path) -> str:
    """The section of the docs' page."""
    lines: dict[str, list[str]] = {"calls": [], "interferon": [], "platform": [], "protein": []}
    for name in KEYS:
        file = folder / f"{name}.h5ad"
        if not file.exists():
            continue
        cells = anndata.read_h5ad(file)
        if name == "cell_lines":
            cells = cells[cells.obs["demuxlet_cls"] == "SNG"].copy()
            lines["platform"] += platform_lines(cells)
        counts, clusters, keys, model = study_of(cells, name)
        results, comparisons, seconds = results_of(counts, clusters, keys, model)
        lines["calls"] += call_lines(name, results, seconds)
        if name == "kang_ifnb":
            lines["interferon"] += interferon_lines(results)
        if name == "citeseq_pbmc":
            counts.obsm["protein_expression"] = cells.obsm["protein_expression"].loc[counts.obs_names]
            lines["protein"] += protein_lines(counts, results, comparisons)
        print(name, file=sys.stderr, flush=True)
    found = {key: "\n".join(rows) for key, rows in lines.items()}
    return f"""## Real cells

Genes called, fewest to most of a comparison (median); seconds of the processor of the tests and, beside them, of the calls,
all groupings of a study together.

| study | grouping | comparisons | calls | pairs of cells | Wilcoxon | pseudobulk | units | seconds |
|---|---|---|---|---|---|---|---|---|
{found["calls"]}

`kang_ifnb`, stimulated against control: known interferon genes among the first ten.

| comparison | calls | of ten: calls | pairs | Wilcoxon | pseudobulk | the first ten of the calls |
|---|---|---|---|---|---|---|
{found["interferon"]}

`cell_lines`, called on CEL-seq2, looked up on Drop-seq (genes whose change is known there to ± 0.2): share of the calls
that change by more than 0.25 there in the same direction, and share of the genes that do which are called.

| method | calls | come back | found |
|---|---|---|---|
{found["platform"]}

`citeseq_pbmc`, genes of proteins whose mean differs between a cluster and the rest (centred log-ratio, by 0.5): called, and
in the protein's direction.

| method | pairs of cluster and gene | called | in its direction |
|---|---|---|---|
{found["protein"]}
"""


if __name__ == "__main__":
    print(tables_of(Path(sys.argv[1])))
