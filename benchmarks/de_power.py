"""True false discovery rate and power of calls of differential expression, on planted changes and on none.

    python benchmarks/de_power.py [--repeats 5] [--only SCENARIO ...] [--importance] [--data FOLDER] [--page docs/de-power.md]

Counts are simulated outside scVI's family (types with changes of their own, gene programs that vary continuously within
types, gamma-Poisson noise, batches, unequal depth, donors) and, in one scenario, by a random decoder. Of each cell the
true shares of the genes are known, without batch and donor, and a change is true where the groups' mean shares differ by
more than 0.25 log2. A scVI is trained on each data set as the project trains it. ``--importance`` adds scvi-tools'
importance weights with its filter of outlier cells, which take minutes a comparison, on the first repeat. With 5 repeats
it takes about half an hour on one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from de_studies import tables_of
from scipy import sparse
from simulation import Planted, decode, draw_counts, draw_latent, shares_of

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit
from scvi_downstream.pipelines.de.calls import call_comparisons
from scvi_downstream.pipelines.de.nodes import find_comparisons
from scvi_downstream.pipelines.de.options import LEAST_CHANGE, DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS, compare_pseudobulk
from scvi_downstream.pipelines.de.wilcoxon import compare_wilcoxon
from scvi_downstream.statistics.bayesian_expression import compare_bayesian, expected_fdr
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.group_means import compare_means
from scvi_downstream.statistics.shrinkage import shrink
from scvi_downstream.study.defaults import default_model, defaults_of, replicates_of

LEVEL = 0.05
N_CURVE = 60
CALLS, BOUND = "calls", "counts and decoder, errors known"


@dataclass(frozen=True)
class Scenario:
    """What is planted.

    ``effect`` is the range of the log2 changes of a type's ``n_changed`` genes; with ``n_donors`` conditions are
    compared within types and ``n_changed`` genes of each type change between them. ``program`` is the standard
    deviation of what gene programs add to the log expression, ``uneven`` the share of a type's cells in a batch of its
    own, ``type_depth`` that of the log depth over types, ``dispersion`` the median inverse dispersion. ``null``: cells
    of the two groups, drawn from one type.
    """

    n_cells: int = 1500
    n_genes: int = 800
    n_types: int = 4
    n_changed: int = 80
    effect: tuple[float, float] = (0.3, 2.0)
    program: float = 0.4
    batch: float = 0.3
    uneven: float = 0.0
    depth: float = 2500.0
    depth_sd: float = 0.4
    type_depth: float = 0.0
    dispersion: float = 4.0
    rarest: float = 0.25
    by_decoder: bool = False
    n_donors: int = 0
    paired: bool = True
    donor: float = 0.25
    null: tuple[int, int] | None = None


COHORT = Scenario(n_cells=3000, batch=0.0, effect=(0.4, 1.6), n_donors=6)
SCENARIOS = {
    "types": Scenario(),
    "types without programs": Scenario(program=0.0),
    "strong batches, unevenly filled": Scenario(batch=0.5, uneven=0.6),
    "unequal depth": Scenario(type_depth=0.5, depth_sd=0.6),
    "a rare type": Scenario(rarest=0.03),
    "shallow": Scenario(depth=700.0),
    "small changes": Scenario(effect=(0.1, 0.8)),
    "overdispersed": Scenario(dispersion=1.0, program=0.6),
    "a random decoder": Scenario(by_decoder=True),
    "6 donors, pairs": COHORT,
    "4 donors, pairs": replace(COHORT, n_donors=4),
    "5 and 5 donors": replace(COHORT, n_donors=10, paired=False),
    "3 and 3 donors": replace(COHORT, n_donors=6, paired=False),
    "6 variable donors, pairs": replace(COHORT, donor=0.6),
    "null, 150 and 150 cells": Scenario(null=(150, 150)),
    "null, 12 and 288 cells": Scenario(null=(12, 288)),
    "null, 6 donors, pairs": replace(COHORT, n_changed=0),
    "null, 5 and 5 donors": replace(COHORT, n_changed=0, n_donors=10, paired=False),
}


@dataclass(frozen=True, eq=False)
class Scored:
    """One method on one comparison: evidence and sign of each gene, NaN where it has none, what is called, the truth."""

    scenario: str
    method: str
    repeat: int
    evidence: np.ndarray
    sign: np.ndarray
    called: np.ndarray
    truth: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Genes that truly change, in the direction that the method says."""
        return (np.abs(self.truth) > LEAST_CHANGE) & (np.sign(self.sign) == np.sign(self.truth))


def simulate(scenario: Scenario, seed: int) -> tuple[AnnData, np.ndarray, np.ndarray]:
    """Counts, the true shares of each cell, and, of a cohort, the shares that it would have in the other condition."""
    rng = np.random.default_rng(seed)
    n_cells, n_genes = scenario.n_cells, scenario.n_genes
    rest = (1 - scenario.rarest) / (scenario.n_types - 1)
    types = rng.choice(scenario.n_types, n_cells, p=[scenario.rarest, *[rest] * (scenario.n_types - 1)])
    if scenario.null:
        types[:] = 0
    log_share = rng.normal(0, 1.3, n_genes) + _programs(scenario, rng)
    if scenario.by_decoder:
        log_share = _decoded(scenario, types, rng)
    changes = np.zeros((scenario.n_types, n_genes))
    for change in changes:
        some = rng.choice(n_genes, scenario.n_changed, replace=False)
        change[some] = rng.choice([-1, 1], len(some)) * rng.uniform(*scenario.effect, len(some)) * np.log(2)
    batches = rng.integers(3, size=n_cells)
    batches = np.where(rng.random(n_cells) < scenario.uneven, types % 3, batches)
    shifts = rng.normal(0, scenario.batch, (3, n_genes))[batches] if scenario.batch else 0.0
    donors = rng.integers(max(scenario.n_donors, 1), size=n_cells)
    treated = rng.integers(2, size=n_cells) if scenario.paired else donors % 2
    if scenario.n_donors:
        spread = scenario.donor * rng.lognormal(0, 0.4, n_genes)
        of_donor = rng.normal(size=(scenario.n_donors, n_genes))[donors]
        of_type = rng.normal(size=(scenario.n_donors, scenario.n_types, n_genes))[donors, types]
        of_sample = rng.normal(size=(scenario.n_donors, 2, n_genes))[donors, treated]
        shifts = spread * (of_donor + of_type / 2 + of_sample / 2)
        states = [log_share, log_share + changes[types]]
        log_share = np.where(treated[:, None] == 1, states[1], states[0])
        untreated, other = shares_of(states[0]), shares_of(states[1])
    elif not scenario.by_decoder and not scenario.null:
        log_share = log_share + changes[types]
    true = shares_of(log_share)
    if not scenario.n_donors:
        untreated = other = true
    of_type = np.exp(rng.normal(0, scenario.type_depth, scenario.n_types))
    drawn = Planted(median_counts=scenario.depth, counts_sd=scenario.depth_sd, dispersion=scenario.dispersion)
    counts = draw_counts(log_share + shifts, of_type[types], drawn, rng)
    seen = (counts > 0).sum(axis=0) >= 10
    names = {"cell_type": types, "batch": batches, "donor": donors, "condition": treated}
    obs = pd.DataFrame({name: pd.Categorical(codes.astype(str)) for name, codes in names.items()})
    obs["sample"] = pd.Categorical([f"{d}_{c}" for d, c in zip(donors, treated, strict=True)])
    obs.index = obs.index.map("cell{}".format)
    var = pd.DataFrame(index=[f"g{i}" for i in np.flatnonzero(seen)])
    cells = AnnData(sparse.csr_matrix(counts[:, seen].astype(np.float32)), obs=obs, var=var)
    return cells, untreated[:, seen], other[:, seen]


def _programs(scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    """Three programs of a fifth of the genes each, as active in a cell as a normal draw says."""
    loadings = rng.normal(0, scenario.program, (3, scenario.n_genes)) * (
        rng.random((3, scenario.n_genes)) < 0.2
    )
    return rng.normal(size=(scenario.n_cells, 3)) @ loadings


def _decoded(scenario: Scenario, types: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    planted = Planted(n_cells=scenario.n_cells, n_genes=scenario.n_genes, n_types=scenario.n_types)
    return decode(draw_latent(types, planted, rng), planted, rng)


def comparisons_of(scenario: Scenario, cells: AnnData) -> list[Comparison]:
    """Types against the rest, conditions within types, or two groups at random."""
    if scenario.null:
        n_first, n_second = scenario.null
        places = np.arange(cells.n_obs)
        return [
            Comparison("pairs", "1 vs 2", "1", "2", places < n_first, (places >= n_first) & (places < n_first + n_second))
        ]  # fmt: skip
    clusters = pd.DataFrame({"leiden": cells.obs["cell_type"]}, index=cells.obs_names)
    groupings = () if scenario.n_donors else ("labels",)
    found = find_comparisons(cells, clusters, keys_of(scenario), defaults_of(DeOptions, groupings=groupings))
    return [each for each in found if each.grouping in ("labels", "condition_by_type")]


def keys_of(scenario: Scenario) -> Replicates:
    """The columns of the simulated counts."""
    if scenario.n_donors:
        return replicates_of(sample_key="sample", condition_key="condition", label_key="cell_type")
    return replicates_of(batch_key="batch", label_key="cell_type")


type Evidence = tuple[str, int, Any, Any, Any]


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, its comparisons, the true log2 fold changes of each, and a model of it."""

    scenario: Scenario
    cells: AnnData
    comparisons: list[Comparison]
    truths: list[np.ndarray]
    model: Any

    @property
    def keys(self) -> Replicates:
        """The columns of the counts."""
        return keys_of(self.scenario)

    def by_comparison(self, table: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
        """Rows of a table by comparison, a row a gene of the counts."""
        for i, each in enumerate(self.comparisons):
            own = table[(table["grouping"] == each.grouping) & (table["comparison"] == each.name)]
            yield i, own.set_index("gene").reindex(self.cells.var_names)


def draw_data(scenario: Scenario, seed: int) -> Data:
    """Simulate, and train scVI as the project trains it."""
    cells, untreated, other = simulate(scenario, seed)
    comparisons = comparisons_of(scenario, cells)
    truths = []
    for each in comparisons:
        first, second = each.cells1, each.cells2
        if scenario.n_donors:
            first = second = first | second
        ratio = other[first].mean(axis=0) / untreated[second].mean(axis=0)
        truths.append(np.zeros(cells.n_vars) if scenario.null else np.log2(ratio))
    spec = default_model()
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        fitted = build_and_fit(
            cells.copy(), spec, keys_of(scenario), seed=0, accelerator="cpu", checkpoints=store
        )
    return Data(scenario, cells, comparisons, truths, fitted.model)


def of_pairs(data: Data, stock: pd.DataFrame, seed: int, *, importance: bool) -> Iterator[Evidence]:
    """Method, comparison, evidence, sign and calls of scvi-tools' rule in several settings."""
    test, settings = defaults_of(DeOptions).bayesian, {"pairs of cells": stock}
    if not data.scenario.n_donors:
        for name, change in {
            "pairs, batch_correction": {"batch_correction": True},
            "pairs, delta by scvi-tools": {"delta": None},
        }.items():
            settings[name] = compare_bayesian(data.model, data.comparisons, replace(test, **change), seed)
    for name, table in settings.items():
        for i, own in data.by_comparison(table):
            yield name, i, own["proba_de"], own["lfc_median"], own["is_de"]
    for i, each in enumerate(data.comparisons[:2] if importance else []):
        found = data.model.differential_expression(
            idx1=each.cells1, idx2=each.cells2, weights="importance", filter_outlier_cells=True,
            delta=LEAST_CHANGE, n_samples_overall=1000, fdr_target=LEVEL, silent=True,
        ).loc[data.cells.var_names]  # fmt: skip
        called = found[f"is_de_fdr_{LEVEL}"]
        yield "pairs, importance weights, filtered", i, found["proba_de"], found["lfc_median"], called


def of_counts(data: Data, tested: pd.DataFrame) -> Iterator[Evidence]:
    """The same of the classical tests."""
    for i, own in data.by_comparison(tested) if len(tested) else ():
        yield "pseudobulk", i, -own["p_value"], own["lfc"], own["p_adjusted"] <= LEVEL
    ranked = compare_wilcoxon(log_normalize(data.cells), data.cells.var_names, data.comparisons)
    for i, own in data.by_comparison(ranked):
        called = own["p_adjusted"] <= LEVEL
        yield "Wilcoxon", i, -own["p_value"], own["score"], called
        sized = called & (own["lfc"].abs() > LEAST_CHANGE)
        yield "Wilcoxon, LFC beyond 0.25", i, -own["p_value"], own["score"], sized


def of_decoder(data: Data) -> Iterator[Evidence]:
    """The same of the decoded means of the groups, alone and weighed together with the counts."""
    means = data.model.get_normalized_expression(
        transform_batch=list(data.cells.obs["batch"].cat.categories) if data.keys.batch_key else None,
        n_samples=5,
        return_mean=True,
        return_numpy=True,
    )
    for i, each in enumerate(data.comparisons):
        decoded = np.log2(means[each.cells1].mean(axis=0) / means[each.cells2].mean(axis=0))
        yield "decoder's means", i, np.abs(decoded), decoded, np.abs(decoded) > LEAST_CHANGE
        if not data.scenario.null and not data.scenario.n_donors:
            yield BOUND, i, *_together(data.cells, each, decoded, data.truths[i])


def evidence_of(data: Data, seed: int, *, importance: bool) -> Iterator[Evidence]:
    """Method, comparison, evidence, sign and calls of every method."""
    options = defaults_of(DeOptions)
    stock = compare_bayesian(data.model, data.comparisons, options.bayesian, seed)
    tested = pd.DataFrame(columns=PSEUDOBULK_COLUMNS)
    if data.scenario.n_donors:
        tested = compare_pseudobulk(data.cells, data.comparisons, data.keys)
    yield from of_pairs(data, stock, seed, importance=importance and not data.scenario.n_donors)
    yield from of_counts(data, tested)
    yield from of_decoder(data)
    calls = call_comparisons(data.cells, data.comparisons, data.cells.var_names, tested, data.keys, options)
    for i, own in data.by_comparison(calls):
        yield CALLS, i, own["probability"], own["effect"], own["is_de"]


def _together(cells: AnnData, comparison: Comparison, decoded: np.ndarray, truth: np.ndarray) -> tuple:
    """The best weighing of counts and decoder that someone could find who knows the truth: a bound, not a method.

    Slope, variance and covariance of the decoder's errors are fitted to the truth, over the counts' own errors.
    """
    totals = np.asarray(cells.X.sum(axis=1)).ravel()
    codes = cells.obs["batch"].cat.codes.to_numpy().astype(int)
    alone = replace(comparison, grouping="bound", within=comparison.cells1 | comparison.cells2)
    (c,), (s,) = compare_means(cells.X.tocsr(), totals, [alone], codes)
    weights = 1 / (s**2 + 0.05)
    slope = (decoded * truth * weights).sum() / (truth**2 * weights).sum()
    basis = np.column_stack([np.ones_like(s), s**2])
    root = 1 / (s**2 + 0.02)

    def along(values: np.ndarray) -> np.ndarray:
        return basis @ np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)[0]

    v = np.maximum(along((decoded - slope * truth) ** 2), 1e-3)
    k = along((decoded - slope * truth) * (c - truth))
    k = np.clip(k, -0.95 * np.sqrt(v) * s, 0.95 * np.sqrt(v) * s)
    determinant = s**2 * v - k**2
    of_counts, of_decoder = v - slope * k, slope * s**2 - k
    precision = of_counts + slope * of_decoder
    found = shrink(
        (of_counts * c + of_decoder * decoded) / precision,
        np.sqrt(determinant / precision),
        LEAST_CHANGE,
        0.95,
    )
    return found.probability, found.mean, expected_fdr(found.probability) <= LEVEL


def summarize(scored: list[Scored]) -> dict[str, float]:
    """Calls a comparison, true FDR with its standard error over repeats, power, and power at a true FDR of 5 %."""
    found = pd.DataFrame(
        {
            "repeat": each.repeat,
            "calls": each.called.sum(),
            "false": (each.called & ~each.right).sum(),
            "right": (each.called & each.right).sum(),
            "true": (np.abs(each.truth) > LEAST_CHANGE).sum(),
        }
        for each in scored
    )
    by_repeat = found.groupby("repeat")[["calls", "false", "right", "true"]].sum()
    rates = by_repeat["false"] / by_repeat["calls"].clip(lower=1)
    fdr, power = curve(scored)
    allowed = power[fdr <= LEVEL]
    return {
        "calls": found["calls"].mean(),
        "fdr": found["false"].sum() / max(found["calls"].sum(), 1),
        "error": rates.std(ddof=1) / np.sqrt(len(rates)) if len(rates) > 1 else np.nan,
        "any": (found["calls"] > 0).mean(),
        "power": found["right"].sum() / found["true"].sum() if found["true"].sum() else np.nan,
        "at_level": allowed.max(initial=0.0) if found["true"].sum() else np.nan,
    }


def curve(scored: list[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """True FDR and power of calling the same number of genes, by evidence, in every comparison."""
    sizes = np.unique(np.geomspace(1, 400, N_CURVE).astype(int))
    false, right = np.zeros((2, len(sizes)))
    true = sum((np.abs(each.truth) > LEAST_CHANGE).sum() for each in scored)
    for each in scored:
        evidence = np.where(np.isfinite(each.evidence), each.evidence, -np.inf)
        strongest = np.lexsort((-np.abs(each.sign), -evidence))
        of_rank = each.right[strongest]
        right += np.array([of_rank[:size].sum() for size in sizes])
        false += np.array([(~of_rank[:size]).sum() for size in sizes])
    return false / (false + right), right / max(true, 1)


def as_markdown(scored: list[Scored], repeats: int, minutes: float) -> str:
    """The page of the docs."""
    columns = ["calls", "true FDR", "power", "power at a true FDR of 5 %"]
    parts = []
    for scenario in dict.fromkeys(each.scenario for each in scored):
        of_scenario = [each for each in scored if each.scenario == scenario]
        is_null = scenario.startswith("null")
        names = ["calls", "comparisons with a call"] if is_null else columns
        lines = [" | ".join(["method", *names]), "|".join(["---"] * (1 + len(names)))]
        for method in dict.fromkeys(each.method for each in of_scenario):
            found = summarize([each for each in of_scenario if each.method == method])
            cells = [f"{found['calls']:.1f}"]
            if is_null:
                cells.append(f"{found['any']:.0%}")
            else:
                cells += [
                    f"{found['fdr']:.1%} ± {found['error']:.1%}",
                    f"{found['power']:.1%}",
                    f"{found['at_level']:.1%}",
                ]
            name = f"**{method}**" if method == "calls" else method
            lines.append(" | ".join([name, *cells]))
        parts.append(
            f"## {scenario[0].upper()}{scenario[1:]}\n\n" + "\n".join(f"| {line} |" for line in lines)
        )
    tables = "\n\n".join(parts)
    return f"""# Power and error of differential expression

{_first_line(scored)}

![True false discovery rate and power by scenario](images/de_power.png)

Made by `python benchmarks/de_power.py --repeats {repeats} --data FOLDER --page docs/de-power.md` in {minutes:.0f} minutes; do not edit.

A change is true where the mean shares of a gene in the two groups differ by more than {LEAST_CHANGE:g} log2, and found where its
direction is right, too. Numbers are over {repeats} data sets, calls those of a comparison, ± the standard error over data sets. `calls` is
`is_de`; `pairs of cells` is scvi-tools' rule, in `de_results` `pairs_is_de`; Wilcoxon and pseudobulk call at an adjusted p of 0.05.
`decoder's means` calls what the decoded means of the groups say; `counts and decoder, errors known` is a bound: what the calls would be
if the decoder were weighed in by someone who knows its errors. The last column compares methods where none errs more than another: it takes from
each as many genes as keep the true FDR at 5 %, which no one can know of real cells.

{tables}
"""


def _first_line(scored: list[Scored]) -> str:
    """What the calls reach over all scenarios in which something is planted."""
    planted = [each for each in scored if not each.scenario.startswith("null")]
    found = {
        key: summarize([each for each in planted if (each.scenario, each.method) == key])
        for key in dict.fromkeys((each.scenario, each.method) for each in planted)
    }
    ours = {scenario: values for (scenario, method), values in found.items() if method == CALLS}
    best = 0
    for scenario, own in ours.items():
        others = [
            v["at_level"]
            for (of, method), v in found.items()
            if of == scenario and method not in (CALLS, BOUND)
        ]
        best += own["at_level"] >= max(others)
    rates = [values["fdr"] for values in ours.values()]
    return (
        f"The calls have a true false discovery rate of {min(rates):.1%} to {max(rates):.1%} where 5 % are expected; "
        f"at the same true rate they find more than every other method in {best} of {len(ours)} scenarios."
    )


def draw(scored: list[Scored], path: Path) -> None:
    """A panel a scenario: curves, and a dot where each method calls."""
    from scvi_downstream.plots.panels import panel_grid
    from scvi_downstream.plots.style import OKABE_ITO

    scenarios = [
        name for name in dict.fromkeys(each.scenario for each in scored) if not name.startswith("null")
    ]
    shown = ["calls", "Wilcoxon", "pseudobulk", "pairs of cells", "decoder's means"]
    colors = dict(zip(shown, (OKABE_ITO[i] for i in (4, 0, 2, 3, 5)), strict=True))
    figure, panels = panel_grid(
        len(scenarios), columns=5, width=2.6, height=2.4, more_height=0.6, least_width=5
    )
    for axes, scenario in zip(panels, scenarios, strict=True):
        for method, color in colors.items():
            own = [each for each in scored if (each.scenario, each.method) == (scenario, method)]
            if not own:
                continue
            axes.plot(*curve(own), color=color, linewidth=1.2, label=method)
            found = summarize(own)
            axes.scatter(found["fdr"], found["power"], color=color, s=26, zorder=3)
        axes.axvline(LEVEL, color="#999999", linewidth=0.7, linestyle="--")
        axes.set(xlim=(-0.01, 0.5), ylim=(0, 1))
        axes.set_title(scenario, fontsize=8)
    figure.supxlabel("true false discovery rate (dashed: 5 %)")
    figure.supylabel("power")
    by_name = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    figure.legend([by_name[name] for name in shown if name in by_name], [name for name in shown if name in by_name],
                  loc="outside upper center", ncols=len(shown))  # fmt: skip
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS))
    parser.add_argument("--importance", action="store_true")
    parser.add_argument("--data", type=Path, help="folder of the real cells of de_studies.py")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    started, scored = time.perf_counter(), []
    for name in given.only or SCENARIOS:
        for repeat in range(given.repeats):
            data = draw_data(SCENARIOS[name], repeat)
            for method, i, *found in evidence_of(data, repeat, importance=given.importance and not repeat):
                evidence, sign, called = (np.asarray(values, dtype=np.float64) for values in found)
                scored.append(Scored(name, method, repeat, evidence, sign, called == 1, data.truths[i]))
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    page = as_markdown(scored, given.repeats, (time.perf_counter() - started) / 60)
    if given.data:
        page += "\n" + tables_of(given.data)
    print(page)
    if given.page:
        given.page.write_text(page, encoding="utf-8")
        draw(scored, given.page.parent / "images" / "de_power.png")


if __name__ == "__main__":
    main()
