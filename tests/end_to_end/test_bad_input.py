"""What the command line says to wrong files and words: one message, a non-zero exit, nothing written over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all: to make one takes as long as a run."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'tracking.db'}"


@pytest.fixture
def run(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``kedro run --pipelines preparation --params …`` in this process; gives exit status and output."""
    from kedro.framework.startup import bootstrap_project

    from scvi_downstream.cli import cli

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.chdir(PROJECT)

    def command(*, root: Path = tmp_path / "data", **params: Any) -> tuple[int, str]:
        bootstrap_project(PROJECT)
        given = {"study": "bad", "data_root": root, "workers": 1, **params}
        words = ",".join(f"{name}={value}" for name, value in given.items())
        result = CliRunner().invoke(cli, ["run", "--pipelines", "preparation", "--params", words])
        return result.exit_code, result.output

    return command


def cells(tmp_path: Path, *, n_cells: int = 60, n_genes: int = 40) -> Any:
    from anndata import AnnData

    rng = np.random.default_rng(0)
    counts = AnnData(rng.poisson(1.0, (n_cells, n_genes)).astype(np.float32))
    counts.obs["donor"] = np.where(np.arange(n_cells) % 2, "a", "b")
    counts.obs["type"] = np.where(np.arange(n_cells) % 3, "x", "y")
    return counts


def write(counts: Any, tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    counts.write_h5ad(path)
    return path


def said(output: str) -> str:
    """The error message, on one line."""
    assert "Traceback" not in output
    return " ".join(output[output.index("Error: ") :].split())


def test_good_cells_pass(run: Any, tmp_path: Path) -> None:
    status, output = run(input=write(cells(tmp_path), tmp_path), batch_key="donor", label_key="type")
    assert status == 0, output
    assert (tmp_path / "data/03_primary/bad/counts.h5ad").exists()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"input": "nowhere/cells.h5ad"}, ["nowhere/cells.h5ad"]),
        ({"reference": "nowhere/scvi"}, ["reference 'nowhere/scvi' does not exist"]),
        ({"marker_table": "no.csv"}, ["marker_table 'no.csv' does not exist"]),
        ({"inptu": "cells.h5ad"}, ["inptu", "the closest is 'input'"]),
        ({"batch_kye": "donor"}, ["batch_kye", "the closest is 'batch_key'"]),
        ({"models.scvi.family": "scVI"}, ["models.scvi.family 'scVI'", "the closest is 'SCVI'"]),
        ({"models.scvi.n_latent": "many"}, ["models.scvi.n_latent", "'many'"]),
        ({"primary": "scvj"}, ["primary 'scvj'", "the closest is 'scvi'"]),
        ({"accelerator": "tpu"}, ["accelerator", "'tpu'"]),
    ],
)
def test_wrong_words_are_named_before_anything_runs(
    run: Any, tmp_path: Path, params: dict[str, str], words: list[str]
) -> None:
    status, output = run(**params)
    assert status != 0
    for word in words:
        assert word in said(output)
    assert not (tmp_path / "data/03_primary/bad/counts.h5ad").exists()


def test_wrong_format_and_truncated_file(run: Any, tmp_path: Path) -> None:
    other = tmp_path / "cells.txt"
    other.write_text("not cells")
    assert "cells.txt" in said(run(input=other)[1])
    whole = write(cells(tmp_path), tmp_path)
    whole.write_bytes(whole.read_bytes()[:3000])
    status, output = run(input=whole)
    assert status != 0
    assert "cells.h5ad" in said(output)


def test_normalised_values_name_the_layer_that_holds_counts(run: Any, tmp_path: Path) -> None:
    counts = cells(tmp_path)
    counts.layers["counts"] = counts.X.copy()
    counts.X = np.log1p(counts.X / 3)
    message = said(run(input=write(counts, tmp_path))[1])
    assert "counts_layer=counts" in message


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (-1, "-1"), (0.5, "0.5"), (np.inf, "inf")])
def test_one_bad_value_is_found(run: Any, tmp_path: Path, value: float, word: str) -> None:
    counts = cells(tmp_path)
    counts.X[17, 5] = value
    status, output = run(input=write(counts, tmp_path))
    assert status != 0
    assert word in said(output).lower()
    assert "17" in said(output)


def test_misspelt_key_suggests_the_closest(run: Any, tmp_path: Path) -> None:
    status, output = run(input=write(cells(tmp_path), tmp_path), batch_key="donr")
    assert status != 0
    assert "'donr'" in said(output)
    assert "'donor'" in said(output)


def test_key_with_missing_values(run: Any, tmp_path: Path) -> None:
    counts = cells(tmp_path)
    counts.obs["donor"] = counts.obs["donor"].astype("category")
    counts.obs.loc[counts.obs_names[3], "donor"] = np.nan
    message = said(run(input=write(counts, tmp_path), batch_key="donor")[1])
    assert "donor" in message
    assert "1 " in message


def test_too_few_cells_and_genes(run: Any, tmp_path: Path) -> None:
    assert "20 cells" in said(run(input=write(cells(tmp_path, n_cells=20), tmp_path))[1])
    assert "1 gene" in said(run(input=write(cells(tmp_path, n_genes=1), tmp_path))[1])


def test_repeated_names(run: Any, tmp_path: Path) -> None:
    counts = cells(tmp_path)
    counts.obs_names = ["same", "same", *counts.obs_names[2:]]
    assert "same" in said(run(input=write(counts, tmp_path))[1])
    counts = cells(tmp_path)
    counts.var_names = ["GENE", "GENE", *counts.var_names[2:]]
    assert "GENE" in said(run(input=write(counts, tmp_path))[1])


def test_one_batch_one_label_or_no_known_label_is_said_and_goes_on(run: Any, tmp_path: Path) -> None:
    counts = cells(tmp_path)
    counts.obs["donor"] = "only"
    counts.obs["type"] = "unknown"
    status, output = run(input=write(counts, tmp_path), batch_key="donor", label_key="type")
    assert status == 0, output
    import json

    warnings = json.loads((tmp_path / "data/03_primary/bad/preparation_summary.json").read_text())["warnings"]
    assert any("donor" in warning for warning in warnings)
    assert any("type" in warning for warning in warnings)


def test_folder_that_cannot_be_written(run: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("I am not a folder")
    status, output = run(root=blocked / "data")
    assert status != 0
    assert "cannot write to" in said(output)
    assert blocked.read_text() == "I am not a folder"


def test_full_disk_leaves_the_old_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    path = write(cells(tmp_path), tmp_path)
    assert run(input=path)[0] == 0
    table = tmp_path / "data/03_primary/bad/qc_metrics.parquet"
    before = table.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_parquet", full)
    status, output = run(input=path, incremental="false")
    assert status != 0
    assert "qc_metrics.parquet" in said(output)
    assert table.read_bytes() == before
