"""Which options a model should have unless a user says otherwise: trained anew with one option changed, on many data sets.

    python benchmarks/defaults.py FOLDER RESULTS [--sets NAMES] [--settings NAMES] [--seeds 0 1 2] [--workers 2]
    python benchmarks/defaults.py FOLDER RESULTS --page docs/defaults.md

FOLDER holds cell_lines.h5ad (Tian 2019), kang_ifnb.h5ad (Kang 2018), worm_embryo.h5ad (Packer 2019), pbmc3k.h5ad and
citeseq_pbmc.h5ad; the demonstration's cells, mixtures of cell lines in known shares and simulated cells need no files of
their own, but for the lines. RESULTS is a file of one line a training, to which what is not there yet is added. A training
and its scores take some 15 s on one core. A seed is that of the division of the cells, of the first weights and of all
draws, so that two settings with the same seed are compared on the same test cells.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from simulation import LATENT_KEY, Planted, simulate
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import KNeighborsRegressor

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.counts_input_dataset import read_pbmc68k
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, build_and_fit
from scvi_downstream.pipelines.clustering.nodes import cluster_leiden, compare_clusterings, resample_leiden
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.pipelines.embedding.nodes import build_neighbors, compute_harmony, compute_pca
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.imputation.scoring import score_imputation
from scvi_downstream.pipelines.predictive_checks.checks import check_predictions
from scvi_downstream.pipelines.predictive_checks.options import PredictiveCheckOptions
from scvi_downstream.pipelines.predictive_checks.report import COUNT_CHECKS
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.scoring.criteria import choose_profile
from scvi_downstream.scoring.embedding_metrics import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.scoring.marginal_likelihood import SamplingBounds
from scvi_downstream.study.defaults import default_parameters, defaults_of, model_spec

BEFORE: dict[str, Any] = {
    "family": "SCVI", "n_latent": 10, "n_layers": 1, "n_hidden": 128, "gene_likelihood": "zinb",
    "training": {"start_from_counts": False},
}  # fmt: skip
DEFAULT: dict[str, Any] = default_parameters()["models"]["scvi"]
VARIATIONS: dict[str, dict[str, Any]] = {
    "ZINB": {"gene_likelihood": "zinb"},
    "dispersion by batch": {"dispersion": "gene-batch"},
    "random start": {"training": {"start_from_counts": False}},
    "2 layers": {"n_layers": 2},
    "5 dimensions": {"n_latent": 5},
    "20 dimensions": {"n_latent": 20},
    "30 dimensions": {"n_latent": 30},
    "32 units": {"n_hidden": 32},
    "64 units": {"n_hidden": 64},
    "256 units": {"n_hidden": 256},
    "library modelled": {"use_observed_lib_size": False},
    "no dropout": {"dropout_rate": 0.0},
    "dropout 0.2": {"dropout_rate": 0.2},
    "layer norm": {"use_layer_norm": "both", "use_batch_norm": "none"},
    "batches encoded": {"encode_covariates": True},
    "warm-up 5": {"training": {"n_epochs_kl_warmup": 5}},
    "warm-up 50": {"training": {"n_epochs_kl_warmup": 50}},
    "warm-up 400": {"training": {"n_epochs_kl_warmup": 400}},
    "patience 8": {"training": {"early_stopping_patience": 8}},
    "patience 30": {"training": {"early_stopping_patience": 30}},
    "rate 0.001": {"training": {"lr": 0.001}},
    "rate 0.004": {"training": {"lr": 0.004}},
    "mini-batches of 32": {"training": {"batch_size": 32}},
    "mini-batches of 128": {"training": {"batch_size": 128}},
}
LDVAE: dict[str, Any] = default_parameters()["models"]["ldvae"]
OF_LDVAE: dict[str, dict[str, Any]] = {
    "LDVAE, random start": {"training": LDVAE["training"] | {"start_from_counts": False}},
    "LDVAE, rate 0.002": {"training": {"lr": 0.002}},
    "LDVAE, rate 0.005": {"training": {"lr": 0.005}},
    "LDVAE, rate 0.02": {"training": {"lr": 0.02}},
    "LDVAE, patience 30": {"training": LDVAE["training"] | {"early_stopping_patience": 30}},
}
SETTINGS = (
    {"before": BEFORE, "default": DEFAULT, "LDVAE": LDVAE}
    | {name: DEFAULT | changes for name, changes in VARIATIONS.items()}
    | {name: LDVAE | changes for name, changes in OF_LDVAE.items()}
)
LINES = ("H1975", "H2228", "HCC827")
MIXED_IN = ("sc_celseq2", "sc_celseq2_5cl_p3", "sc_dropseq")
MIXTURES_PER_BATCH, CELLS_PER_MIXTURE = 300, 9
N_NEIGHBORS = 15
_UNEQUAL = Planted(
    2_500, 800, 8, n_types=7, smaller=0.55, n_batches=3, batch_effect=0.4, signal=0.5, median_counts=1500
)
SIMULATED = {
    "types": Planted(n_types=8, n_batches=3, batch_effect=0.4, imbalance=0.3, signal=0.5, median_counts=1500),
    "gradients": Planted(n_batches=2, batch_effect=0.4, signal=0.5, median_counts=1500),
    "large": Planted(
        12_000, 1_500, 10, n_types=15, n_batches=4, batch_effect=0.3, signal=0.5, median_counts=2500
    ),
    "unequal": _UNEQUAL,
    "unequal_broad": replace(_UNEQUAL, broad=1.0),
    "unequal_many": replace(
        _UNEQUAL, n_types=12, smaller=0.72, n_latent=10, signal=0.6, n_batches=2, batch_effect=0.3
    ),
}
SEED_OF_SIMULATION = 7
_TYPES = Keys(batch_key="batch", label_key="cell_type")
KEYS = dict.fromkeys(SIMULATED, _TYPES) | {
    "demo": _TYPES,
    "gradients": Keys(batch_key="batch"),
    "mixtures": Keys(batch_key="batch"),
    "citeseq_pbmc": Keys(batch_key="batch"),
    "worm_embryo": Keys(batch_key="batch", label_key="cell_type"),
    "cell_lines": Keys(batch_key="batch", label_key="cell_line"),
    "kang_ifnb": Keys(batch_key="donor", label_key="cell_type_transferred"),
    "pbmc3k": Keys(label_key="cell_type"),
}
ACROSS_BATCHES = ("mixtures", "gradients")
RELATIVE = ("elbo_test", "imputation_nll")
ABSOLUTE = ("scib_total", "nmi", "truth_knn")
LDVAE_ON = ("cell_lines", "kang_ifnb", "demo", "worm_embryo")
CHOSEN_ON = ("cell_lines", "kang_ifnb", "mixtures", "types")
CONFIRMED_ON = ("demo", "pbmc3k", "worm_embryo", "citeseq_pbmc", "gradients")


@dataclass(frozen=True)
class Data:
    """Prepared counts, the study's keys and what is known of the cells.

    ``truth`` is ``(n_cells, n_values)``, NaN where unknown; ``across`` says whether it is predicted for the cells of each
    batch from those of the others.
    """

    counts: anndata.AnnData
    keys: Keys
    truth: np.ndarray | None = None
    across: bool = False


def mixtures(lines: anndata.AnnData) -> anndata.AnnData:
    """Sums of nine cells of one batch, thinned to one ninth, whose shares of three cell lines are in ``obsm["truth"]``.

    As the wells of Tian et al. (2019), doi:10.1038/s41592-019-0425-8, in which nine cells were pooled and a ninth was
    sequenced.
    """
    rng = np.random.default_rng(0)
    parts, batches, shares = [], [], []
    names = lines.obs["cell_line"].astype(str).to_numpy()
    for batch in MIXED_IN:
        inside = lines.obs["batch"].astype(str).to_numpy() == batch
        of_line = [np.flatnonzero(inside & (names == line)) for line in LINES]
        for _ in range(MIXTURES_PER_BATCH):
            numbers = rng.multinomial(CELLS_PER_MIXTURE, rng.dirichlet(np.ones(len(LINES))))
            cells = np.concatenate([rng.choice(own, n) for own, n in zip(of_line, numbers, strict=True)])
            total = np.asarray(lines.X[cells].sum(axis=0)).ravel().astype(int)
            parts.append(sparse.csr_matrix(rng.binomial(total, 1 / CELLS_PER_MIXTURE).astype(np.float32)))
            batches.append(batch)
            shares.append(numbers / CELLS_PER_MIXTURE)
    index = pd.Index([f"mixture_{i}" for i in range(len(parts))])
    obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=index)
    return anndata.AnnData(sparse.vstack(parts).tocsr(), obs, lines.var, obsm={"truth": np.array(shares)})


def cells_of(name: str, folder: Path) -> anndata.AnnData:
    """Raw counts, with what is known of the cells in ``obsm["truth"]``."""
    if name in SIMULATED:
        found = simulate(SIMULATED[name], SEED_OF_SIMULATION)
        if name in ACROSS_BATCHES:
            found.obsm["truth"] = found.obsm[LATENT_KEY]
        return found
    if name == "demo":
        return read_pbmc68k()
    if name in ("cell_lines", "mixtures"):
        read = anndata.read_h5ad(folder / "cell_lines.h5ad")
        lines = read[read.obs["demuxlet_cls"].astype(str) == "SNG"].copy()
        return mixtures(lines) if name == "mixtures" else lines
    cells = anndata.read_h5ad(folder / f"{name}.h5ad")
    if name == "worm_embryo":
        minutes = pd.to_numeric(cells.obs["embryo_time"], errors="coerce")
        cells.obsm["truth"] = minutes.to_numpy(float)[:, None]
    if name == "citeseq_pbmc":
        cells.obsm["truth"] = np.log1p(cells.obsm["protein_expression"].to_numpy(float))
    return cells


@cache
def load(name: str, folder: Path) -> Data:
    """One data set as the project prepares it."""
    cells = cells_of(name, folder)
    counts, *_ = prepare_counts(cells, None, KEYS[name], defaults_of(PreparationOptions))
    truth = cells.obsm.get("truth")
    if truth is not None:
        truth = truth[cells.obs_names.get_indexer(counts.obs_names)]
    return Data(counts, KEYS[name], truth, name in ACROSS_BATCHES)


def followed(points: np.ndarray, data: Data) -> dict[str, float]:
    """Share of the variance of what is known that the latent's neighbours, and a straight line through it, predict."""
    known = np.isfinite(data.truth).all(axis=1)
    points, truth = points[known], data.truth[known]
    groups = data.counts.obs[data.keys.batch_key].astype(str).to_numpy()[known]
    folds = GroupKFold(len(set(groups))) if data.across else KFold(5, shuffle=True, random_state=0)
    found = {}
    for name, method in (
        ("knn", KNeighborsRegressor(N_NEIGHBORS)),
        ("linear", RidgeCV(np.logspace(-3, 3, 7))),
    ):
        error = np.zeros(truth.shape[1])
        for given, asked in folds.split(points, truth, groups):
            centre, scale = points[given].mean(axis=0), points[given].std(axis=0) if name == "linear" else 1.0
            fitted = method.fit((points[given] - centre) / scale, truth[given])
            guess = fitted.predict((points[asked] - centre) / scale).reshape(truth[asked].shape)
            error += np.square(truth[asked] - guess).sum(axis=0)
        found[f"truth_{name}"] = float(1 - (error / np.square(truth - truth.mean(axis=0)).sum(axis=0)).mean())
    return found


def embedding_scores(points: np.ndarray, data: Data, before: np.ndarray, seed: int) -> dict[str, float]:
    """ScIB scores, agreement of the recommended clusters with the labels, and how the truth is followed."""
    counts, keys = data.counts, data.keys
    graph = build_neighbors(pd.DataFrame(points, index=counts.obs_names), defaults_of(EmbeddingOptions), seed)
    obs = counts.obs
    labels = obs[keys.label_key] if keys.label_key else None
    batches = obs[keys.batch_key] if keys.batch_key else None
    scores, _ = compute_metrics(
        points, graph, before, labels, batches, profile=choose_profile("full"), n_draws=0, seed=seed
    )
    found = {
        name: float(scores[name])
        for name in (
            "scib_total",
            "scib_bio_conservation",
            "scib_batch_correction",
            "leiden_nmi",
            "leiden_ari",
        )
        if scores.get(name) is not None
    }
    if keys.label_key:
        options = defaults_of(ClusteringOptions)
        leiden = cluster_leiden(graph, options, seed)
        best = recommend(leiden, resample_leiden(graph, leiden, options, seed), options.min_stability)
        agreement = (
            compare_clusterings(leiden[[best.column]], counts, keys).set_index("clustering_b").loc["label"]
        )
        found |= {
            "ari": float(agreement["ari"]),
            "nmi": float(agreement["nmi"]),
            "n_clusters": best.n_clusters,
        }
    return found | (followed(points, data) if data.truth is not None else {})


def generation_scores(model: Any, data: Data, seed: int) -> dict[str, float]:
    """Predictive checks that are passed, and counts generated a cell, on held-out cells."""
    options = defaults_of(PredictiveCheckOptions, n_samples=20)
    held = SimpleNamespace(attach=lambda *_: model)
    checks, genes, *_ = check_predictions(held, data.counts, data.keys, options, seed, "cpu")
    own = checks[(checks["source"] == "model") & (checks["cells"] == "held-out")].set_index(
        ["check", "genes"]
    )
    size = own.loc[("library_size", "all")]
    ours = genes[(genes["source"] == "model") & (genes["cells"] == "held-out")]
    return {
        "counts_generated": float(size["expected"]),
        "counts_measured": float(size["observed"]),
        "checks_passed": int(own[own.index.get_level_values(0).isin(COUNT_CHECKS)]["inside"].sum()),
        "coverage_95": float(own.loc[("coverage_95", "all"), "observed"]),
        "genes_unlike": float(ours["outlier"].sum() / max(ours["p"].notna().sum(), 1)),
    }


def fitted(data: Data, setting: str, seed: int) -> Fit:
    """The model of one setting."""
    spec = model_spec({"name": "model", **SETTINGS[setting]})
    genes = data.counts[:, data.counts.var["highly_variable"]].copy()
    with tempfile.TemporaryDirectory() as place:
        how = {"seed": seed, "accelerator": "cpu", "checkpoints": CheckpointStore(Path(place))}
        return build_and_fit(genes, spec, data.keys, **how)


def measure(name: str, setting: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train once and score."""
    data = load(name, folder)
    before = components(name, folder)
    row: dict[str, Any] = {"set": name, "setting": setting, "seed": seed}
    if setting in BASELINES:
        started = time.process_time()
        points = BASELINES[setting](name, folder)
        row["seconds"] = time.process_time() - started
        return row | embedding_scores(points, data, before, seed)
    started = time.process_time()
    result = fitted(data, setting, seed)
    row["seconds"] = time.process_time() - started
    model = result.model
    likelihood, _ = score_likelihood(model, SamplingBounds(100, 300, 60.0), seed=seed)
    row |= {key: likelihood[key] for key in ("elbo_train", "elbo_test", "marginal_ll_test")}
    row |= {key: result.summary[key] for key in ("epochs", "best_epoch", "n_parameters")}
    row |= generation_scores(model, data, seed)
    points = model.get_latent_representation()
    row["active"] = int((points.var(axis=0) > 0.1).sum())
    held = SimpleNamespace(attach=lambda *_: model)
    imputed, _ = score_imputation(held, data.counts, defaults_of(ImputationOptions), seed, "cpu")
    row["imputation_nll"] = imputed["methods"]["model"]["poisson_nll"]["value"]
    row["imputation_r"] = imputed["methods"]["model"]["pearson"]["value"]
    return row | embedding_scores(points, data, before, seed)


@cache
def components(name: str, folder: Path) -> np.ndarray:
    """Principal components before any correction."""
    return compute_pca(load(name, folder).counts, defaults_of(EmbeddingOptions), 0)[0].to_numpy(np.float32)


def harmony(name: str, folder: Path) -> np.ndarray:
    """The components with their batches aligned."""
    data = load(name, folder)
    table = pd.DataFrame(components(name, folder), index=data.counts.obs_names)
    return compute_harmony(data.counts, table, data.keys, 0)[0].to_numpy(np.float32)


BASELINES: dict[str, Callable[[str, Path], np.ndarray]] = {"PCA": components, "Harmony": harmony}


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """Tables of the page by name."""
    rows = rows.drop_duplicates(["set", "setting", "seed"], keep="last").assign(
        generated=rows["counts_generated"] / rows["counts_measured"] - 1
    )
    by = {name: table.set_index(["set", "seed"]) for name, table in rows.groupby("setting")}
    return {
        "before": _beside(by["before"], by["default"]),
        "variations": _differences(by, [*VARIATIONS], "default", CHOSEN_ON),
        "ldvae": _differences(by, [*OF_LDVAE], "LDVAE", LDVAE_ON),
        "baselines": _against_baselines(by),
    }


def put(page: Path, tables: dict[str, str]) -> None:
    """Put each table between its two comments on the page."""
    text = page.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        text = text[: text.index(begin) + len(begin)] + table + "\n" + text[text.index(end) :]
    page.write_text(text)


def _mean_and_error(values: pd.Series, digits: int) -> str:
    values = values.dropna()
    if values.empty:
        return ""
    error = f" ± {values.std() / np.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():+.{digits}f}{error}"


def _arrow(old: pd.DataFrame, new: pd.DataFrame, column: str, digits: int, factor: float = 1) -> str:
    values = [factor * table[column].mean() for table in (old, new)]
    return "" if np.isnan(values).any() else " → ".join(f"{value:,.{digits}f}" for value in values)


def _beside(before: pd.DataFrame, now: pd.DataFrame) -> str:
    """Each set before and now: means over seeds, and the paired difference of the ELBO with its standard error."""
    lines = [
        "| set | seeds | held-out ELBO | change, % | counts generated, % off | checks passed | imputation loss | scIB total | "
        "ARI, NMI of the recommended clusters | truth followed (R²) | seconds |",
        "|" + "---|" * 11,
    ]
    for name in (*CHOSEN_ON, *CONFIRMED_ON):
        old, new = (table.loc[[name]].droplevel("set") for table in (before, now))
        old, new = old.align(new, join="inner", axis=0)
        pair = partial(_arrow, old, new)
        agreement = [pair("ari", 2), pair("nmi", 2)]
        change = 100 * (new["elbo_test"] - old["elbo_test"]) / old["elbo_test"].abs()
        cells = [
            name, str(len(new)), pair("elbo_test", 1), _mean_and_error(change, 2), pair("generated", 1, factor=100),
            pair("checks_passed", 1), pair("imputation_nll", 4), pair("scib_total", 3),
            "; ".join(each for each in agreement if each), pair("truth_knn", 2), pair("seconds", 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(by: dict[str, pd.DataFrame], names: list[str], base: str, sets: tuple[str, ...]) -> str:
    """What one option changes: the ELBO on each set, other scores and seconds over all of them."""
    lines = [
        f"| instead | {' | '.join(f'ELBO, %: {name}' for name in sets)} | imputation loss, % | scIB total | NMI | "
        "truth followed | seconds | seeds |",
        "|" + "---|" * (len(sets) + 7),
    ]
    own = by[base]
    for setting in names:
        if setting not in by:
            continue
        shared = by[setting].index.intersection(own.index)
        shared = shared[shared.get_level_values("set").isin(sets)]
        one, other = by[setting].loc[shared], own.loc[shared]
        relative = 100 * (one[list(RELATIVE)] / other[list(RELATIVE)] - 1)
        elbo = [
            _mean_and_error(-relative.loc[[name], "elbo_test"], 2)
            for name in sets
            if name in shared.levels[0]
        ]
        change = one[list(ABSOLUTE)] - other[list(ABSOLUTE)]
        scores = [
            _mean_and_error(relative["imputation_nll"], 1),
            *(_mean_and_error(change[name], 3) for name in ABSOLUTE),
            f"× {(one['seconds'] / other['seconds']).mean():.2f}",
        ]
        n_seeds = len(set(shared.get_level_values("seed")))
        lines.append(f"| {setting} | {' | '.join([*elbo, *scores])} | {n_seeds} |")
    return "\n".join(lines)


def _against_baselines(by: dict[str, pd.DataFrame]) -> str:
    """How much of what is known the latent's neighbours, and a straight line through it, predict, and scIB."""
    sides = {"PCA": "PCA", "Harmony": "Harmony", "before": "scVI before", "default": "scVI"}
    lines = [f"| set | what | {' | '.join(sides.values())} |", "|" + "---|" * (len(sides) + 2)]
    for score, words in (
        ("truth_knn", "R² by neighbours"),
        ("truth_linear", "R² by a line"),
        ("scib_total", "scIB total"),
    ):
        for name in (*CHOSEN_ON, *CONFIRMED_ON):
            means = [by[side].loc[[name], score].mean() for side in sides]
            if not np.isnan(means).any():
                lines.append(f"| {name} | {words} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, one line a training; or put the tables onto the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--sets", nargs="+", default=[*CHOSEN_ON, *CONFIRMED_ON])
    parser.add_argument("--settings", nargs="+", default=[*BASELINES, *SETTINGS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="whose tables, each between two comments, are made anew")
    given = parser.parse_args()
    if given.page:
        put(given.page, tables(pd.read_json(given.results, lines=True)))
        return
    done = set()
    if given.results.exists():
        rows = map(json.loads, given.results.read_text().splitlines())
        done = {(row["set"], row["setting"], row["seed"]) for row in rows}
    wanted = [(s, c, k) for k in given.seeds for c in given.settings for s in given.sets]
    wanted = [each for each in wanted if each not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=context) as workers, given.results.open("a") as file:
        jobs = {workers.submit(partial(measure, *each, given.folder)): each for each in wanted}
        for number, job in enumerate(as_completed(jobs), 1):
            row = job.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{number} of {len(jobs)}: {jobs[job]}", flush=True)


if __name__ == "__main__":
    main()
