"""R's own monocle, and what is said where it cannot be used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from scvi_downstream.bridges import monocle_r
from scvi_downstream.bridges.monocle_r import order_with_monocle, why_monocle_is_missing
from scvi_downstream.runtime.errors import InputError

needs_monocle = pytest.mark.skipif(bool(why_monocle_is_missing()), reason=why_monocle_is_missing())


@pytest.fixture(scope="module")
def line() -> anndata.AnnData:
    """500 cells × 120 genes that switch along ``obs["time"]``; names that R would change."""
    rng = np.random.default_rng(0)
    time = rng.random(500)
    slopes, middles = rng.normal(0, 2, 120), rng.uniform(0.2, 0.8, 120)
    means = np.exp(rng.normal(1, 0.5, 120) + slopes * np.tanh(4 * (time[:, None] - middles)))
    counts = rng.negative_binomial(5, 5 / (5 + means)).astype(np.float32)
    return anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"time": time}, index=[f"{i}-AC GT'\"," for i in range(500)]),
        var=pd.DataFrame(index=[f"gene;{i}" for i in range(120)]),
    )


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An Rscript of our own, first on the PATH; it has every package."""
    script = tmp_path / "Rscript"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    write(script, "exit 0")
    return script


def write(script: Path, rest: str) -> None:
    script.write_text(f'#!/bin/sh\nfor last; do [ "$last" = "-e" ] && exit 0; done\n{rest}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


def starts(cells: anndata.AnnData) -> pd.Index:
    return cells.obs_names[np.argsort(cells.obs["time"])[:25]]


def test_without_r(line: anndata.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_monocle_is_missing().startswith("Rscript is not on the PATH; ")
    with pytest.raises(InputError, match="install R and the Bioconductor package monocle"):
        order_with_monocle(line, line.var_names, starts(line))


def test_without_the_package(pretend: Path) -> None:
    pretend.write_text("#!/bin/sh\nexit 1\n")
    assert why_monocle_is_missing().startswith("R has no package monocle that it can load; install R")


def test_an_r_that_does_not_answer(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(monocle_r, "_CHECK_SECONDS", 0.2)
    assert "did not answer in 0.2 seconds" in why_monocle_is_missing()


def test_r_reads_what_the_user_says_of_libraries(pretend: Path, tmp_path: Path) -> None:
    pretend.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nexit 1\n')
    why_monocle_is_missing()
    with pytest.raises(InputError, match="it said nothing"):
        monocle_r._run(tmp_path, 5)
    called = (tmp_path / "called").read_text().splitlines()
    assert len(called) == 2
    for call in called:
        assert {"--no-save", "--no-restore", "--no-site-file", "--no-init-file"} <= set(call.split())
        assert "--no-environ" not in call
        assert "--vanilla" not in call


def test_what_r_says_when_it_fails(line: anndata.AnnData, pretend: Path) -> None:
    write(pretend, "echo Loading >&2; echo 'Error in orderCells(cds) : ' >&2; echo '  no root' >&2; exit 3")
    with pytest.raises(InputError, match=r"^R's monocle failed: Error in orderCells\(cds\) : no root$"):
        order_with_monocle(line, line.var_names, starts(line))
    write(pretend, "exit 137")
    with pytest.raises(InputError, match="it said nothing"):
        order_with_monocle(line, line.var_names, starts(line))


@pytest.mark.thorough
def test_a_slow_r_is_stopped(line: anndata.AnnData, pretend: Path, tmp_path: Path) -> None:
    write(pretend, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(InputError, match=r"longer than 0\.5 seconds"):
        order_with_monocle(line, line.var_names, starts(line), timeout=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_r_is_given_and_what_comes_back(line: anndata.AnnData, pretend: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.csv"
    pd.DataFrame(
        {"cell": [f"c{i}" for i in range(40, 0, -1)], "pseudotime": range(39, -1, -1), "state": [10, 2] * 20}
    ).to_csv(answer, index=False)
    write(
        pretend,
        f'cp -r "$last" {tmp_path}/given; cp {answer} "$last/order.csv"; '
        'printf "R 4.2.2\\nmonocle 2.26.0\\n" > "$last/versions.txt"',
    )
    line = line.copy()
    line.X = sparse.csr_matrix(line.X.toarray() * (np.arange(120) != 7))
    found, versions = order_with_monocle(line, line.var_names, starts(line), max_cells=40, seed=4)
    assert versions == {"R": "4.2.2", "monocle": "2.26.0"}
    given = tmp_path / "given"
    assert found.index.equals(line.obs_names.rename("cell"))
    ordered = found.dropna()
    np.testing.assert_array_equal(ordered["monocle_r_pseudotime"], np.arange(40))
    assert ordered["monocle_r_state"].cat.categories.tolist() == ["2", "10"]
    assert ordered["monocle_r_state"].tolist() == ["2", "10"] * 20
    entries = np.loadtxt(given / "counts.tsv", dtype=int)
    matrix = sparse.csr_matrix((entries[:, 2], (entries[:, 1] - 1, entries[:, 0] - 1)))
    genes = np.delete(np.arange(120), 7)
    np.testing.assert_array_equal(matrix.toarray(), line[ordered.index].X.toarray()[:, genes])
    named = np.loadtxt(given / "starts.txt", dtype=int) - 1
    assert len(named) == 20
    assert set(ordered.index[named]) <= set(starts(line))
    assert (given / "seed.txt").read_text() == "4\n"


def test_too_little_to_order(line: anndata.AnnData, pretend: Path) -> None:
    with pytest.raises(InputError, match="3 expressed genes and 25 start cells"):
        order_with_monocle(line, line.var_names[:3], starts(line))
    with pytest.raises(InputError, match="0 start cells"):
        order_with_monocle(line, line.var_names, ["nobody"])
    empty = line.copy()
    empty.X.data[empty.X.indptr[5] : empty.X.indptr[6]] = 0
    with pytest.raises(InputError, match="1 cells have no count"):
        order_with_monocle(empty, empty.var_names, starts(line))


@pytest.mark.parametrize(("n_starts", "n_held"), [(3, 3), (30, 10), (95, 15)])
def test_sample_holds_start_cells_and_others(n_starts: int, n_held: int) -> None:
    first = np.arange(n_starts)
    sample = monocle_r._sample(100, first, 20, seed=0)
    assert len(np.unique(sample)) == 20
    assert np.isin(sample, first).sum() == n_held
    np.testing.assert_array_equal(sample, monocle_r._sample(100, first, 20, seed=0))
    np.testing.assert_array_equal(monocle_r._sample(15, first, 20, seed=0), np.arange(15))


@needs_monocle
@pytest.mark.slow
def test_planted_time(line: anndata.AnnData) -> None:
    found, versions = order_with_monocle(line, line.var_names, starts(line), timeout=120)
    assert list(versions) == ["R", "monocle"]
    assert versions["monocle"][0] == "2"
    assert found["monocle_r_pseudotime"].min() == 0
    assert spearmanr(found["monocle_r_pseudotime"], line.obs["time"])[0] > 0.8
    assert not found["monocle_r_state"].isna().any()


@needs_monocle
@pytest.mark.slow
def test_what_the_real_r_says_when_it_fails(line: anndata.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_genes(folder: Path, *given: object) -> None:
        written(folder, *given)  # type: ignore[arg-type]
        (folder / "genes.txt").unlink()

    written = monocle_r._write
    monkeypatch.setattr(monocle_r, "_write", without_genes)
    with pytest.raises(InputError, match=r"R's monocle failed: Error .*cannot open"):
        order_with_monocle(line, line.var_names, starts(line), timeout=60)
