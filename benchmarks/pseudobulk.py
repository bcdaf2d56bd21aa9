"""Tests on counts summed by sample: share of small p-values on null data, false discoveries and power on planted data.

    python benchmarks/pseudobulk.py --data FOLDER [--repeats 10]

Beside the project's own test stands DESeq2's Wald test, as PyDESeq2 (doi:10.1093/bioinformatics/btad547) has it, on the
same sums and genes; install pydeseq2 for it. Sums are of gamma-Poisson cells with samples of 10 to 300 of them, and of
the control cells of real donors (kang_ifnb.h5ad in FOLDER: Kang 2018), whose labels are drawn at random: by donor, or by
halves of each donor's cells. Changes are planted in a tenth of the genes; in real counts by thinning one side to a half.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.de.nodes import rank_pseudobulk
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.statistics.designs import SampleColumn
from scvi_downstream.statistics.pseudobulk import expressed_genes, test_sums
from scvi_downstream.statistics.testing import benjamini_hochberg
from scvi_downstream.study.defaults import defaults_of, replicates_of

N_GENES, SHARE, CELLS = 600, 0.1, (10, 300)
CONTRAST = "b vs a"


def simulated(
    rng: np.random.Generator, n: int, *, paired: bool, effect: float
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sums of ``n`` samples a condition, and which genes change by ``effect`` (log2)."""
    means, theta = rng.lognormal(-1.2, 1.4, N_GENES), rng.lognormal(1, 0.6, N_GENES)
    change = np.zeros(N_GENES)
    if effect:
        planted = rng.choice(N_GENES, int(SHARE * N_GENES), replace=False)
        change[planted] = rng.choice([-effect, effect], len(planted))
    spread = 0.3 * rng.lognormal(0, 0.4, N_GENES)
    rows = {}
    for donor in range(n):
        base = rng.normal(0, spread)
        for level, sign in (("a", 0), ("b", 1)):
            own = base + rng.normal(0, spread / 2) if paired else rng.normal(0, spread)
            n_cells = int(np.exp(rng.uniform(*np.log(CELLS))))
            rate = means * np.exp(own) * 2 ** (change * sign) * rng.lognormal(0, 0.4, (n_cells, 1))
            rows[f"d{donor} {level}"] = rng.poisson(rng.gamma(theta, 1 / theta, rate.shape) * rate).sum(
                axis=0
            )
    sums = pd.DataFrame(rows).T.astype(float)
    return sums.rename(columns=lambda gene: f"g{gene}"), change != 0


def real(
    rng: np.random.Generator, cells: pd.DataFrame, counts: np.ndarray, *, paired: bool, effect: float
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sums of control cells with labels at random, and which genes were thinned on one side."""
    donors = cells["donor"].astype(str).to_numpy()
    names = rng.permutation([name for name in np.unique(donors) if (donors == name).sum() >= 20])
    rows = {}
    for i, name in enumerate(names):
        inside = rng.permutation(np.flatnonzero(donors == name))
        if paired:
            for level, part in zip("ab", np.array_split(inside, 2), strict=True):
                rows[f"{name} {level}"] = counts[part].sum(axis=0)
        else:
            rows[f"{name} {'ab'[i % 2]}"] = counts[inside].sum(axis=0)
    sums = pd.DataFrame(rows).T.astype(float).rename(columns=lambda gene: f"g{gene}")
    truth = np.zeros(sums.shape[1], dtype=bool)
    if effect:
        seen = np.flatnonzero(sums.sum(axis=0) >= 15)
        planted = rng.choice(seen, int(SHARE * len(seen)), replace=False)
        truth[planted] = True
        of_b = sums.index.str.endswith("b")
        for gene, lower_b in zip(planted, rng.random(len(planted)) < 0.5, strict=True):
            rows_of_side = np.flatnonzero(of_b == lower_b)
            thinned = rng.binomial(sums.iloc[rows_of_side, gene].astype(int), 2.0**-effect)
            sums.iloc[rows_of_side, gene] = thinned
    return sums, truth


def column_of(sums: pd.DataFrame, *, paired: bool) -> SampleColumn:
    """Sides and pairs, which the names of the sums hold."""
    parts = sums.index.str.split(" ")
    values = pd.Series(pd.Categorical(parts.str[-1]), index=sums.index)
    blocks = pd.Series(parts.str[0], index=sums.index) if paired else None
    return SampleColumn("x", "sample", values, pd.Series(dtype=object), blocks, 1, 2)


def moderated(sums: pd.DataFrame, *, paired: bool) -> pd.Series:
    """P-values of the project's test by gene."""
    return test_sums(sums, column_of(sums, paired=paired))[CONTRAST].set_index("gene")["p"]


def deseq2(sums: pd.DataFrame, *, paired: bool) -> pd.Series:
    """P-values of DESeq2's Wald test by gene."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    column = column_of(sums, paired=paired)
    smallest = int(column.values.value_counts().min())
    tested = sums.loc[:, expressed_genes(sums.to_numpy(), smallest)]
    obs = pd.DataFrame({"side": column.values.astype(str)})
    if paired:
        obs["block"] = column.blocks
    inference = DefaultInference(n_cpus=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = DeseqDataSet(
            counts=tested.round().astype(int), metadata=obs, design="~ block + side" if paired else "~ side",
            size_factors_fit_type="ratio" if (tested > 0).all().sum() >= 10 else "poscounts", inference=inference, quiet=True,
        )  # fmt: skip
        fit.deseq2()
        test = DeseqStats(
            fit, contrast=["side", "b", "a"], independent_filter=False, inference=inference, quiet=True
        )
        test.summary()
    return test.results_df["pvalue"]


def scenarios(
    folder: Path,
) -> Iterator[tuple[str, bool, float, Callable[..., tuple[pd.DataFrame, np.ndarray]]]]:
    """Name, whether samples are pairs, planted effect, and what draws the sums."""
    import anndata

    for n in (3, 6):
        for paired in (False, True):
            for effect in (0.0, 1.0):
                yield (
                    f"simulated, {n} a side",
                    paired,
                    effect,
                    lambda rng, n=n, **how: simulated(rng, n, **how),
                )
    kang = anndata.read_h5ad(folder / "kang_ifnb.h5ad")
    for name in ("CD14+ Monocytes", "CD4 T cells"):
        of_type = kang.obs["cell_type_transferred"] == name
        cells = kang[(kang.obs["condition"] == "ctrl") & of_type]
        dense = cells.X.toarray()
        for paired in (False, True):
            for effect in (0.0, 1.0):
                yield name, paired, effect, lambda rng, o=cells.obs, d=dense, **how: real(rng, o, d, **how)


def score(p: pd.Series, truth: pd.Series) -> dict[str, float]:
    """Share of null genes below 0.05 and 0.01, calls at an FDR of 5 %, false ones among them, planted ones found."""
    truth = truth[p.index]
    called = pd.Series(benjamini_hochberg(p.to_numpy()) <= 0.05, p.index)
    null = p[~truth].dropna()
    return {
        "p < 0.05": (null < 0.05).mean(),
        "p < 0.01": (null < 0.01).mean(),
        "calls": called.sum(),
        "false": (called & ~truth).sum() / max(called.sum(), 1),
        "power": called[truth].mean(),
    }


def seconds_of_study(folder: Path) -> tuple[str, float]:
    """What a study of donors and conditions holds, and the time of all its pseudobulk tests."""
    import anndata

    kang = anndata.read_h5ad(folder / "kang_ifnb.h5ad")
    keys = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type_transferred")
    clusters = pd.DataFrame({"leiden": kang.obs["cell_type_transferred"].astype(str)}, index=kang.obs_names)
    started = time.perf_counter()
    table = rank_pseudobulk(kang, clusters, keys, defaults_of(DeOptions, groupings=("labels",)))
    n = table.groupby(["grouping", "comparison"]).ngroups
    cells = f"{kang.n_obs:,} cells × {kang.n_vars:,} genes"
    return f"kang_ifnb ({n} contrasts of {cells})", time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--page", type=Path)
    parsed = parser.parse_args()
    study = seconds_of_study(parsed.data)
    rows = []
    for name, paired, effect, draw in scenarios(parsed.data):
        for repeat in range(parsed.repeats):
            sums, planted = draw(np.random.default_rng([repeat, paired]), paired=paired, effect=effect)
            truth = pd.Series(planted, sums.columns)
            for test in (moderated, deseq2):
                started = time.perf_counter()
                try:
                    p = test(sums, paired=paired)
                except ModuleNotFoundError:
                    continue
                seconds = time.perf_counter() - started
                labels = {"cells": name, "design": "pairs" if paired else "two groups", "log2": effect}
                rows.append(labels | {"test": test.__name__} | score(p, truth) | {"seconds": seconds})
    page = as_markdown(pd.DataFrame(rows), parsed.repeats, *study)
    print(page)
    if parsed.page:
        parsed.page.write_text(page, encoding="utf-8")


def as_markdown(rows: pd.DataFrame, repeats: int, study: str, seconds: float) -> str:
    """The page of the docs."""
    formats = {
        "p < 0.05": "{:.3f}",
        "p < 0.01": "{:.4f}",
        "calls": "{:.1f}",
        "false": "{:.0%}",
        "power": "{:.0%}",
        "seconds": "{:.2f}",
    }
    keys = ["cells", "design", "log2", "test"]
    means = rows.groupby(keys, sort=False).mean()
    lines = [" | ".join([*keys, *formats]), "|".join(["---"] * (len(keys) + len(formats)))]
    for names, values in means.iterrows():
        shown = [
            "" if np.isnan(values[name]) else form.format(values[name]) for name, form in formats.items()
        ]
        lines.append(" | ".join([*map(str, names), *shown]))
    table = "\n".join(f"| {line} |" for line in lines)
    return f"""# Counts summed by sample

Made by `python benchmarks/pseudobulk.py --data FOLDER --page docs/pseudobulk.md`; do not edit.

The project's test (`moderated`: linear models of log counts per million with precision weights) beside DESeq2's Wald test, on the same sums and
genes, means over {repeats} draws. `log2` is the planted change, 0: none, so that 5 % of the p-values should be below 0.05; `calls` are genes at an
FDR of 5 %, `false` the share of them that was not planted, `power` the share of the planted ones that is called.

{table}

All pseudobulk tests of {study}: {seconds:.1f} s.
"""


if __name__ == "__main__":
    main()
