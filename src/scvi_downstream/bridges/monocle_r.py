"""R's own monocle, for users who have it: a process of its own, files in, files out."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import duration

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
SCRIPT = "monocle_r.R"
LINE_EVERY_SECONDS = 10.0
MIN_GENES = 10
MAX_CELLS = 5000
_HOW_TO_INSTALL = (
    "install R and the Bioconductor package monocle (Debian: r-bioc-monocle), or set trajectory.monocle_r to "
    "false"
)
# As --vanilla, but for the user's ~/.Renviron: it may name the library that holds monocle.
_PLAIN = ("--no-save", "--no-restore", "--no-site-file", "--no-init-file")
_CHECK = 'quit(status = if (requireNamespace("monocle", quietly = TRUE)) 0 else 1)'
_CHECK_SECONDS = 120


def why_monocle_is_missing() -> str:
    """Why R's monocle cannot be used here, and what to do; empty: it can."""
    rscript = which("Rscript")
    return _why_not_with(rscript) if rscript else f"Rscript is not on the PATH; {_HOW_TO_INSTALL}"


@cache
def _why_not_with(rscript: str) -> str:
    command = [rscript, *_PLAIN, "-e", _CHECK]
    try:
        found = subprocess.run(command, capture_output=True, timeout=_CHECK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{rscript} did not answer in {_CHECK_SECONDS} seconds; check that R starts"
    return f"R has no package monocle that it can load; {_HOW_TO_INSTALL}" if found.returncode else ""


def order_with_monocle(
    counts: AnnData,
    genes: Sequence[str],
    start_cells: Sequence[str],
    *,
    max_cells: int = MAX_CELLS,
    seed: int = 0,
    timeout: float = 900.0,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Order cells by Monocle 2's DDRTree in R, from the state that holds most start cells.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    genes
        Names of the genes to order by.
    start_cells
        Names of the start cells.
    max_cells
        Beyond it a random sample with the start cells is ordered, and other cells are missing: monocle keeps the
        distances between all pairs of cells.
    seed
        Of the sample and of R's generator.
    timeout
        Seconds after which R is stopped.

    Returns
    -------
    ``monocle_r_pseudotime`` and ``monocle_r_state`` by cell, ``n_cells`` rows; the versions of R and of the package.

    Raises
    ------
    InputError
        R or the package is missing, R fails or takes too long, or there are too few genes or no start cell.

    References
    ----------
    Qiu et al. (2017), doi:10.1038/nmeth.4402.
    """
    if missing := why_monocle_is_missing():
        raise InputError(f"trajectory.monocle_r is true, but {missing}")
    positions = counts.var_names.get_indexer(list(genes))
    starts = counts.obs_names.get_indexer(list(start_cells))
    starts = np.unique(starts[starts >= 0])
    chosen = _sample(counts.n_obs, starts, max_cells, seed)
    matrix = sparse.csr_matrix(counts.X[:, positions[positions >= 0]])[chosen]
    matrix.eliminate_zeros()
    expressed = np.flatnonzero(matrix.getnnz(axis=0))
    if len(expressed) < MIN_GENES or not len(starts):
        raise InputError(
            f"R's monocle has {len(expressed)} expressed genes and {len(starts)} start cells; it needs at least "
            f"{MIN_GENES} and 1"
        )
    empty = int((matrix.getnnz(axis=1) == 0).sum())
    if empty:
        raise InputError(
            f"{empty} cells have no count in the {len(expressed)} genes that R's monocle orders by; filter cells or "
            "set trajectory.monocle_r to false"
        )
    with tempfile.TemporaryDirectory(prefix="monocle_") as name:
        folder = Path(name)
        _write(folder, matrix[:, expressed], np.flatnonzero(np.isin(chosen, starts)), seed)
        _run(folder, timeout)
        found = pd.read_csv(folder / "order.csv", dtype={"cell": str, "state": str}).set_index("cell")
        versions = dict(line.split() for line in (folder / "versions.txt").read_text().splitlines())
    found = found.loc[_names("c", len(chosen))].set_axis(counts.obs_names[chosen])
    states = pd.CategoricalDtype(sorted(found["state"].unique(), key=int))
    table = found[["pseudotime", "state"]].astype({"pseudotime": np.float64, "state": states})
    return table.add_prefix("monocle_r_").reindex(counts.obs_names).rename_axis("cell"), versions


def _sample(n_cells: int, starts: np.ndarray, max_cells: int, seed: int) -> np.ndarray:
    """Positions, in order, of the start cells (half of the sample at most) and of others drawn at random."""
    if n_cells <= max_cells:
        return np.arange(n_cells)
    rng = np.random.default_rng(seed)
    first = rng.permutation(starts)
    others = rng.permutation(np.setdiff1d(np.arange(n_cells), starts))
    half = max_cells // 2
    chosen = np.concatenate([first[:half], others, first[half:]])[:max_cells]
    logger.info("R's monocle orders a random sample of %d of %d cells", max_cells, n_cells)
    return np.sort(chosen)


def _names(prefix: str, n: int) -> list[str]:
    """Plain names for R, which changes those with dashes or beginning with digits."""
    return [f"{prefix}{i + 1}" for i in range(n)]


def _write(folder: Path, matrix: sparse.csr_matrix, starts: np.ndarray, seed: int) -> None:
    entries = matrix.tocoo()
    columns = {"gene": entries.col + 1, "cell": entries.row + 1, "count": entries.data.astype(np.int64)}
    pd.DataFrame(columns).to_csv(folder / "counts.tsv", sep="\t", header=False, index=False)
    n_cells, n_genes = matrix.shape
    for name, lines in {
        "cells.txt": _names("c", n_cells),
        "genes.txt": _names("g", n_genes),
        "starts.txt": [str(position + 1) for position in starts],
        "seed.txt": [str(seed % 2**31)],
    }.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _run(folder: Path, timeout: float) -> None:
    with (
        as_file(files(__package__).joinpath(SCRIPT)) as script,
        (folder / "messages.txt").open("w+") as messages,
    ):
        command = [str(which("Rscript")), *_PLAIN, str(script), str(folder)]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=messages, stderr=subprocess.STDOUT)
        try:
            _wait(process, timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        messages.seek(0)
        lines = [line.strip() for line in messages.read().splitlines() if line.strip()]
    if process.returncode:
        errors = [i for i, line in enumerate(lines) if line.startswith("Error")]
        first = errors[0] if errors else len(lines) - 1
        reason = " ".join(lines[first : first + 2]) or "it said nothing"
        raise InputError(f"R's monocle failed: {reason}")


def _wait(process: subprocess.Popen, timeout: float) -> None:
    begin = time.monotonic()
    while True:
        try:
            process.wait(min(LINE_EVERY_SECONDS, timeout))
        except subprocess.TimeoutExpired:
            elapsed = time.monotonic() - begin
            if elapsed >= timeout:
                raise InputError(
                    f"R's monocle took longer than {timeout:g} seconds; raise trajectory.monocle_r_timeout or set "
                    "trajectory.monocle_r to false"
                ) from None
            times = duration(elapsed), duration(timeout)
            logger.info("monocle orders the cells in R: %s of at most %s", *times)
        else:
            return
