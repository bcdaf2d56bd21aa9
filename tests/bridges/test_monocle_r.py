from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.stats import spearmanr

from scvi_downstream.bridges import monocle_r
from scvi_downstream.errors import InputError

MISSING = monocle_r.why_monocle_is_missing()
needs_monocle = pytest.mark.skipif(MISSING is not None, reason=f"R's monocle cannot be used: {MISSING}")


def branching_cells(n_cells: int = 200, n_genes: int = 60) -> tuple[AnnData, np.ndarray]:
    """Cells whose genes rise or fall along a line, with names that R would change."""
    random = np.random.default_rng(0)
    time = random.random(n_cells)
    slopes = random.normal(0, 2, n_genes)
    counts = random.poisson(np.exp(1 + np.outer(time, slopes)))
    cells = pd.DataFrame(index=[f"{i}-AC GT" for i in range(n_cells)])
    genes = pd.DataFrame(index=[f"1 gene-{i}" for i in range(n_genes)])
    return AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=cells, var=genes), time


@pytest.fixture
def fake_r(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An Rscript of one's own on the PATH."""

    def make(script: str) -> None:
        program = tmp_path / "Rscript"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        monkeypatch.setattr(monocle_r, "which", lambda name: str(program))
        monocle_r._has_monocle.cache_clear()

    yield make
    monocle_r._has_monocle.cache_clear()


def test_without_r_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    cells, _ = branching_cells()
    with pytest.raises(
        InputError, match="Rscript is not on the PATH; install R and the Bioconductor package monocle"
    ):
        monocle_r.order_with_monocle(cells, cells.var_names, cells.obs_names[:3])


def test_without_the_package_one_is_told(fake_r) -> None:
    fake_r("exit 1")
    assert "R has no package monocle" in str(monocle_r.why_monocle_is_missing())


def test_what_r_says_is_passed_on(fake_r) -> None:
    fake_r(
        'case "$2" in -e) exit 0;; esac; echo "Loading"; echo "Error in orderCells(cds) :"; echo "  no root"; exit 1'
    )
    cells, _ = branching_cells()
    with pytest.raises(InputError, match=r"R's monocle failed: Error in orderCells\(cds\) : no root"):
        monocle_r.order_with_monocle(cells, cells.var_names, cells.obs_names[:3])


def test_r_is_stopped_after_the_time_allowed(fake_r) -> None:
    fake_r('case "$2" in -e) exit 0;; esac; sleep 30')
    cells, _ = branching_cells()
    with pytest.raises(InputError, match=r"longer than 0.5 seconds; raise trajectory.monocle_r_timeout"):
        monocle_r.order_with_monocle(cells, cells.var_names, cells.obs_names[:3], timeout=0.5)


def test_no_start_cell_is_refused(fake_r) -> None:
    fake_r("exit 0")
    cells, _ = branching_cells()
    with pytest.raises(InputError, match="0 start cells"):
        monocle_r.order_with_monocle(cells, cells.var_names, ["nobody"])


@needs_monocle
@pytest.mark.slow
def test_cells_are_ordered_in_r() -> None:
    cells, time = branching_cells()
    starts = cells.obs_names[np.argsort(time)[:5]]
    found = monocle_r.order_with_monocle(cells, cells.var_names, starts, seed=1, timeout=300)
    assert found.index.equals(pd.Index(cells.obs_names))
    assert spearmanr(found["monocle_r_pseudotime"], time).statistic > 0.9
    pd.testing.assert_frame_equal(
        found, monocle_r.order_with_monocle(cells, cells.var_names, starts, seed=1, timeout=300)
    )
