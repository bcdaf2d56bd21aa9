"""scVI as this project fits it beside stock scvi-tools: same cells, genes, seed and held-out cells.

    python benchmarks/against_stock.py [--data FOLDER] [--only NAME …]
    python benchmarks/against_stock.py --input cells.h5ad [--batch-key KEY] --label-key KEY [--cells 5000]

FOLDER holds the .h5ad files named in STUDIES; those that are missing are left out. Each measurement runs in a
process of its own on one thread, and seconds are those of the processor, so that they are its own. Results of STUDIES
are kept in benchmarks/results.json, one entry a study and side, of which docs/benchmarks.md is made; delete an entry to
measure it again. With ``--input`` or ``--cells`` the tables are printed and nothing is kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from engine import cells_of, in_own_process

RESULTS = Path(__file__).with_name("results.json")
STUDIES: dict[str, dict[str, Any]] = {
    "cell_lines": {"batch_key": "batch", "label_key": "cell_line", "keep": ("demuxlet_cls", "SNG")},
    "kang_ifnb": {"batch_key": "condition", "label_key": "cell_type_transferred"},
    "pbmc3k": {"batch_key": None, "label_key": "cell_type"},
    "worm_embryo": {"batch_key": "batch", "label_key": "cell_type"},
    "simulated": {"batch_key": "batch", "label_key": "cell_type"},
}
N_SIMULATED = 20_000
PAGE = Path("docs/benchmarks.md")
N_GENES = 2000
SEED = 0
N_LEIDEN = 20


def load(file: Path, study: str, n_cells: int | None) -> Any:
    """Counts, prepared as the project does; singlets where the study says so; ``n_cells`` of them, if given."""
    import anndata
    import numpy as np

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions
    from scvi_downstream.study.defaults import defaults_of

    options = STUDIES[study]
    keys = Keys(batch_key=options["batch_key"], label_key=options["label_key"])
    if study == "simulated":
        counts = cells_of("simulated", n_cells or N_SIMULATED, N_GENES)
        counts.var["highly_variable"] = True
        return counts, keys
    cells = anndata.read_h5ad(file)
    if "keep" in options:
        column, value = options["keep"]
        cells = cells[cells.obs[column] == value].copy()
    if n_cells and n_cells < len(cells):
        cells = cells[np.random.default_rng(SEED).permutation(len(cells))[:n_cells]].copy()
    counts, _, _ = prepare_counts(cells, None, keys, defaults_of(PreparationOptions, n_top_genes=N_GENES))
    return counts, keys


class Clock:
    """Seconds of the processor since it was made, and the held-out ELBO at the end of each epoch."""

    def __init__(self) -> None:
        self._start, self._begun = time.process_time(), time.perf_counter()
        self.curve: list[tuple[float, float]] = []

    def seconds(self) -> float:
        """Since it was made."""
        return time.process_time() - self._start

    def on_the_wall(self) -> float:
        """Seconds of the wall clock since it was made."""
        return time.perf_counter() - self._begun

    def mark(self, loss: float) -> None:
        """An epoch has ended with this validation loss."""
        self.curve.append((round(self.seconds(), 2), round(-loss, 2)))


def fit_stock(counts: Any, keys: Any) -> tuple[Any, Clock]:
    """SCVI with its own defaults, and a look at the held-out cells after each epoch."""
    import scvi
    from lightning.pytorch.callbacks import Callback

    class Mark(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            clock.mark(float(trainer.callback_metrics["elbo_validation"]))

    scvi.settings.seed = SEED
    scvi.settings.num_threads = 1
    genes = counts[:, counts.var["highly_variable"]].copy()
    scvi.model.SCVI.setup_anndata(genes, batch_key=keys.batch_key)
    model = scvi.model.SCVI(genes)
    clock = Clock()
    how = {"validation_size": 0.1, "train_size": 0.9, "check_val_every_n_epoch": 1, "callbacks": [Mark()]}
    model.train(accelerator="cpu", enable_progress_bar=False, **how)
    return model, clock


def fit_project(counts: Any, keys: Any) -> tuple[Any, Clock]:
    """SCVI as the training pipeline fits it, on the same held-out cells."""
    import tempfile

    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import build_and_fit
    from scvi_downstream.runtime import events
    from scvi_downstream.study.defaults import default_model

    spec = default_model(training={"train_size": 0.9, "validation_size": 0.1})
    genes = counts[:, counts.var["highly_variable"]].copy()
    clock = Clock()
    events.listen(lambda event: clock.mark(event.values["elbo_validation"]))
    with tempfile.TemporaryDirectory() as folder:
        how = {"seed": SEED, "accelerator": "cpu", "checkpoints": CheckpointStore(Path(folder))}
        result = build_and_fit(genes, spec, keys, **how)
    return result.model, clock


def measure(file: Path, study: str, side: str, n_cells: int | None) -> dict[str, Any]:
    """Held-out and training ELBO, ARI and NMI of Leiden at resolution 1 on the latent, seconds, curve."""
    import resource

    import numpy as np
    import scanpy as sc
    from anndata import AnnData
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    counts, keys = load(file, study, n_cells)
    model, clock = {"stock": fit_stock, "project": fit_project}[side](counts, keys)
    seconds, wall = clock.seconds(), clock.on_the_wall()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    latent = AnnData(np.asarray(model.get_latent_representation()))
    sc.pp.neighbors(latent, use_rep="X", n_neighbors=15, random_state=SEED)
    labels = counts.obs[keys.label_key].astype(str).to_numpy()
    known = labels != "unknown"
    ari, nmi = [], []
    for seed in range(N_LEIDEN):
        sc.tl.leiden(
            latent, resolution=1.0, flavor="igraph", n_iterations=2, directed=False, random_state=seed
        )
        clusters = latent.obs["leiden"].to_numpy()[known]
        ari.append(adjusted_rand_score(labels[known], clusters))
        nmi.append(normalized_mutual_info_score(labels[known], clusters))
    return {
        "n_cells": int(counts.n_obs),
        "epochs": len(model.history["elbo_train"]),
        "elbo_held_out": float(model.get_elbo(indices=model.validation_indices)),
        "elbo_train": float(model.get_elbo(indices=model.train_indices)),
        "ari": float(np.mean(ari)),
        "ari_sd": float(np.std(ari, ddof=1)),
        "nmi": float(np.mean(nmi)),
        "nmi_sd": float(np.std(nmi, ddof=1)),
        "seconds": seconds,
        "wall": wall,
        "peak_mb": peak,
        "curve": clock.curve,
    }


def time_to_quality(stock: dict[str, Any], project: dict[str, Any]) -> dict[str, float]:
    """Seconds of both sides to stock's best held-out ELBO, and of stock to its end."""
    best = max(value for _, value in stock["curve"])
    reached = [
        next((at for at, value in side["curve"] if value >= best), float("nan")) for side in (stock, project)
    ]
    return {"best": best, "stock": reached[0], "project": reached[1], "stock_end": stock["curve"][-1][0]}


def page(results: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `python benchmarks/against_stock.py --data FOLDER`; do not edit.",
        "",
        f"scVI with scvi-tools' own defaults beside this project's training, same cells, same {N_GENES} genes, seed {SEED}, the same",
        "10 % of cells held out. ELBO in nats per cell, higher is better; ARI and NMI of Leiden at resolution 1 on the latent",
        f"against the known labels, mean ± standard deviation over {N_LEIDEN} seeds of Leiden. On these data scvi-tools trains",
        "400 epochs; the project stops on the held-out ELBO and keeps the best epoch, so its held-out figure is selected on",
        f"those cells. {results.get('machine', '')}",
        "",
        "| data | side | cells | epochs | held-out ELBO | training ELBO | ARI | NMI | seconds | on the wall | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for study in STUDIES:
        for side in ("stock", "project"):
            row = results.get(f"{study}/{side}")
            if row is None:
                continue
            lines.append(
                f"| {study} | {side} | {row['n_cells']} | {row['epochs']} | {row['elbo_held_out']:.1f} | {row['elbo_train']:.1f} "
                f"| {row['ari']:.3f} ± {row['ari_sd']:.3f} | {row['nmi']:.3f} ± {row['nmi_sd']:.3f} | {row['seconds']:.0f} "
                f"| {row['wall']:.0f} s | {row['peak_mb']:,.0f} MB |"
            )
    if not (studies := with_curves(results)):
        return "\n".join(lines) + "\n"
    lines += [
        "",
        "## Time to quality",
        "",
        "Seconds until the held-out ELBO, looked at after every epoch, is as good as stock's best one.",
        "",
        "| data | stock's best | stock | project | ratio | stock's end : project |",
        "|---|---|---|---|---|---|",
    ]
    for study in studies:
        found = time_to_quality(results[f"{study}/stock"], results[f"{study}/project"])
        lines.append(
            f"| {study} | {found['best']:.1f} | {found['stock']:.0f} s | {found['project']:.1f} s "
            f"| {found['stock'] / found['project']:.1f} | {found['stock_end'] / found['project']:.0f} |"
        )
    notes = {name: row["note"] for name, row in results.items() if "note" in row}
    lines += [f"\n{name}: {note}." for name, note in notes.items()]
    lines += ["", "![Held-out ELBO by seconds of training](images/benchmark_curves.png)"]
    return "\n".join(lines) + "\n"


def with_curves(results: dict[str, Any]) -> list[str]:
    """Studies of which both sides were followed by epoch."""
    sides = ("stock", "project")
    return [name for name in STUDIES if all("curve" in results.get(f"{name}/{side}", {}) for side in sides)]


def draw(results: dict[str, Any], file: Path) -> None:
    """Held-out ELBO by seconds, one panel a study."""
    import matplotlib.pyplot as plt

    if not (studies := with_curves(results)):
        return
    columns = min(3, len(studies))
    rows = -(-len(studies) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 2.9 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(studies) :]:
        ax.remove()
    for ax, study in zip(axes.flat, studies, strict=False):
        for side, color in (("stock", "#d55e00"), ("project", "#0072b2")):
            seconds, values = zip(*results[f"{study}/{side}"]["curve"], strict=True)
            ax.plot(
                seconds, values, color=color, label={"stock": "scvi-tools", "project": "this project"}[side]
            )
        best = max(value for _, value in results[f"{study}/stock"]["curve"])
        ax.set(
            title=study,
            xlabel="processor time, s",
            xscale="log",
            ylim=(best - 0.1 * abs(best), best + 0.02 * abs(best)),
        )
    for ax in axes[:, 0]:
        ax.set_ylabel("held-out ELBO, nats per cell")
    axes[0, 0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def one_line_each(results: dict[str, Any]) -> str:
    """As JSON; indented, a curve would take four lines an epoch."""
    lines = (f"{json.dumps(name)}: {json.dumps(results[name], sort_keys=True)}" for name in sorted(results))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--only", nargs="*", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--input", type=Path)
    parser.add_argument("--batch-key")
    parser.add_argument("--label-key")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--measure", nargs=2, metavar=("STUDY", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.input:
        arguments.only = [arguments.input.stem]
        STUDIES.clear()
        STUDIES[arguments.input.stem] = {key: getattr(arguments, key) for key in ("batch_key", "label_key")}
    files = {study: arguments.input or arguments.data / f"{study}.h5ad" for study in STUDIES}
    if arguments.measure:
        study, side = arguments.measure
        print(json.dumps(measure(files[study], study, side, arguments.cells)))
        return
    kept = not (arguments.input or arguments.cells)
    results = json.loads(RESULTS.read_text()) if kept and RESULTS.exists() else {}
    results["machine"] = f"Seconds of the processor, one thread ({platform.machine()}), no GPU."
    for study in arguments.only:
        for side in ("stock", "project"):
            name = f"{study}/{side}"
            if name in results or not (study == "simulated" or files[study].exists()):
                continue
            results[name] = json.loads(in_own_process(*sys.argv, "--measure", study, side))
            if kept:
                RESULTS.write_text(one_line_each(results))
            print(name, {key: value for key, value in results[name].items() if key != "curve"}, flush=True)
    if not kept:
        print(page(results))
        return
    PAGE.write_text(page(results))
    draw(results, PAGE.parent / "images" / "benchmark_curves.png")


if __name__ == "__main__":
    main()
