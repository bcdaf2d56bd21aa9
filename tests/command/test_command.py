"""`scvi-downstream`: what it says to whoever does not know Kedro, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from scvi_downstream import command
from scvi_downstream.command import main, pages, session
from scvi_downstream.runtime import errors
from scvi_downstream.runtime.errors import InputError

PROJECT = Path(__file__).resolve().parents[2]


def say(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name=command.NAME)


def message(*words: object) -> str:
    """The one message of what the user can mend."""
    said = say(*words)
    assert said.exit_code == 1, said.output
    assert said.stderr.startswith("Error: ")
    assert said.stderr.count("\n") == 1
    return said.stderr.removeprefix("Error: ").strip()


def write(folder: Path, name: str = "cells.h5ad", **changes: Any) -> Path:
    """120 cells of two donors and two types, with counts in X unless another X is given."""
    n = 120
    counts = np.random.default_rng(0).poisson(1.0, (n, 20)).astype(np.float32)
    obs = pd.DataFrame(
        {"donor": [f"d{i % 2}" for i in range(n)], "cell_type": [f"T{i // 60}" for i in range(n)]},
        index=[f"cell_{i}" for i in range(n)],
    )
    adata = anndata.AnnData(counts, obs=obs)
    for slot, value in changes.items():
        if slot == "layers":
            adata.layers["counts"] = counts
        else:
            setattr(adata, slot, value(counts) if callable(value) else value)
    adata.write_h5ad(folder / name)
    return folder / name


@pytest.mark.parametrize("words", [[], ["run"], ["check"], ["report"], ["ui"], ["viz"]])
def test_help_has_an_example_or_says_what_it_is_for(words: list[str]) -> None:
    said = say(*words, "--help")
    assert said.exit_code == 0
    assert said.output.startswith(f"Usage: scvi-downstream {' '.join(words)}".rstrip())
    if words in ([], ["run"], ["check"]):
        assert (
            "scvi-downstream check cells.h5ad" in said.output or "run cells.h5ad --batch donor" in said.output
        )


def test_examples_of_the_help_are_lines_to_copy() -> None:
    assert "\n    scvi-downstream run cells.h5ad --batch donor --label cell_type\n" in say("--help").output


def test_help_says_how_shells_complete() -> None:
    assert "_SCVI_DOWNSTREAM_COMPLETE=bash_source" in say("--help").output.replace("\n ", "")
    environment = os.environ | {"_SCVI_DOWNSTREAM_COMPLETE": "bash_source"}
    script = subprocess.run(
        [sys.executable, "-m", "scvi_downstream"], capture_output=True, text=True, env=environment, check=True
    ).stdout
    assert "complete -o nosort -F _scvi_downstream_completion scvi-downstream" in script


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["check", "--help"], ["--version"]])
def test_help_does_not_wait_for_imports(words: list[str]) -> None:
    script = (
        f"import sys; sys.argv = ['x', *{words}]; from scvi_downstream.command import main\n"
        "try: main()\nexcept SystemExit: print([*sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    heavy = {"numpy", "pandas", "kedro", "pydantic", "yaml", "torch", "scvi", "scanpy", "anndata", "mlflow"}
    assert not heavy & set(eval(said.splitlines()[-1]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chekc", "x"], "No such command 'chekc'"),
        (["run"], "Missing argument 'INPUT'"),
        (["run", "pbmc68k", "--bacth", "x"], "No such option"),
        (["run", "pbmc68k", "--set", "seed"], "'seed' is not NAME=VALUE"),
        (["run", "pbmc68k", "--set", "=3"], "'=3' is not NAME=VALUE"),
        (["run", "pbmc68k", "--set", "a.b=[1"], "'a.b=[1' is not YAML"),
        (["run", "pbmc68k", "--set", "a=1", "--set", "a.b=1"], "'a.b=1': a has a value already"),
        (["run", "pbmc68k", "--seed", "-1"], "-1 is not in the range"),
        (["run", "pbmc68k", "--conf", "nowhere"], "'nowhere' does not exist"),
    ],
)
def test_wrong_use_is_status_2(words: list[str], said: str) -> None:
    found = say(*words)
    assert found.exit_code == 2
    assert said in found.stderr


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would have been run."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(
        session,
        "run_study",
        lambda out, conf, parameters: found.update(out=out, conf=conf, parameters=parameters),
    )
    return found


def test_options_become_parameters(ran: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "mine").mkdir()
    words = (
        "--batch donor --label cell_type --sample donor --condition stim --layer counts --study s --seed 3"
    )
    words += " --workers 2 --out there --conf mine --set models.scvi.n_latent=30 --set metadata_analysis.columns=[a]"
    said = say("run", "cells.h5ad", *words.split(), "--set", "models.scvi.family=SCVI", "--set", "reference=")
    assert said.exit_code == 0, said.output
    assert ran == {
        "out": tmp_path / "there",
        "conf": tmp_path / "mine",
        "parameters": {
            "input": str(tmp_path / "cells.h5ad"),
            "batch_key": "donor",
            "label_key": "cell_type",
            "sample_key": "donor",
            "condition_key": "stim",
            "counts_layer": "counts",
            "study": "s",
            "seed": 3,
            "workers": 2,
            "models": {"scvi": {"n_latent": 30, "family": "SCVI"}},
            "metadata_analysis": {"columns": ["a"]},
            "reference": None,
        },
    }


def test_without_options_results_lie_here(ran: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert say("run", "pbmc68k").exit_code == 0
    assert ran == {"out": tmp_path, "conf": None, "parameters": {"input": "pbmc68k"}}


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_missing_input_is_named_before_anything_starts(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    assert "the closest is 'cells.h5ad'" in message(verb, "cell.h5ad")
    assert "the closest is 'pbmc68k'" in message(verb, "pbmc86k")


def test_a_wrong_parameter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nosuch" in message("run", "pbmc68k", "--set", "nosuch=3")
    assert "training.max_epochs" in message("run", "pbmc68k", "--set", "training.max_epochs=few")
    (tmp_path / "mine").mkdir()
    assert "holds no parameters*.yml" in message("run", "pbmc68k", "--conf", "mine")
    (tmp_path / "mine" / "parameters.yml").write_text("seeed: 3\n")
    assert "the closest is 'seed'" in message("run", "pbmc68k", "--conf", "mine")
    (tmp_path / "mine" / "parameters.yml").write_text("seed: [3\n")
    assert "parameters.yml" in message("run", "pbmc68k", "--conf", "mine")
    assert not (tmp_path / "data").exists()
    (tmp_path / ".mine").mkdir()
    assert "hidden" in message("run", "pbmc68k", "--conf", ".mine")


def test_ctrl_c_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(session, "run_study", interrupted)
    monkeypatch.setattr(os, "_exit", end)
    said = say("run", "pbmc68k")
    assert said.exit_code == 130
    assert "Stopped. What is finished is kept" in said.stderr


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "run_study", lambda *_: 1 / 0)
    assert isinstance(say("run", "pbmc68k").exception, ZeroDivisionError)


def test_configuration_is_the_checkouts_only_where_it_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session._is_checkout(PROJECT)
    assert not session._is_checkout(PROJECT / "src")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.kedro]\npackage_name = "another"\n')
    assert session.prepare_kedro(None) == PROJECT / "conf"
    monkeypatch.setattr(session, "_is_checkout", lambda folder: folder == tmp_path)
    assert session.prepare_kedro(None) == tmp_path / "conf"


def test_check_says_what_is_there_and_how_to_run_it(tmp_path: Path) -> None:
    path = write(tmp_path, layers=True)
    said = say("check", path)
    assert said.exit_code == 0
    assert f"{path}: 120 cells, 20 genes" in said.output
    assert "raw counts  X (2,400 values)" in said.output
    assert "layers      counts" in said.output
    assert "--label     cell_type (2 values: T0, T1): called like cell types" in said.output
    assert said.output.endswith(
        f"To run it:\n  scvi-downstream run {path} --batch donor --label cell_type --sample donor\n"
    )


def test_check_finds_the_counts_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "with space.h5ad", layers=True, X=np.log1p)
    said = say("check", path)
    assert (
        "raw counts  layers['counts'] (2,400 values); in X the value 0.693147 is not an integer"
        in said.output
    )
    assert f"scvi-downstream run '{path}' --layer counts --batch donor" in said.output
    assert say("check", path, "--layer", "counts").exit_code == 0
    empty = write(tmp_path, "no X.h5ad", layers=True, X=None)
    assert "in X there is nothing" in say("check", empty).output


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        (
            {"X": np.log1p},
            [],
            "X does not hold raw counts: the value 0.693147 is not an integer; no layer holds any",
        ),
        ({"X": np.negative}, [], "the value -1 is negative"),
        ({"X": np.zeros_like}, [], "X does not hold raw counts: all values are zero"),
        ({"X": lambda x: x / 0}, [], "the value nan is NaN"),
        ({"X": None}, [], "X does not hold raw counts: there is nothing"),
        (
            {"X": None, "layers": True},
            ["--layer", "count"],
            "'count' is not a layer of the input; the closest is",
        ),
        ({"obs_names": ["a"] * 120}, [], "1 cell names occur more than once"),
        ({"var_names": ["g"] * 20}, [], "1 gene names occur more than once"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_run_is_one_message(
    changes: dict, words: list[str], said: str, tmp_path: Path
) -> None:
    assert said in message("check", write(tmp_path, **changes), *words)


def test_a_layer_that_was_chosen_is_not_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, layers=True)
    scaled = anndata.read_h5ad(path)
    scaled.layers["scaled"] = scaled.X / 2
    scaled.write_h5ad(path)
    found = message("check", path, "--layer", "scaled")
    assert found.startswith("layers['scaled'] does not hold raw counts")
    assert "X holds them and layers['counts'] holds them" in found


def test_few_cells_and_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    few = anndata.AnnData(np.ones((3, 20), dtype=np.float32))
    few.write_h5ad(tmp_path / "few.h5ad")
    assert "3 cells" in message("check", tmp_path / "few.h5ad")
    (tmp_path / "cells.h5ad").write_text("no HDF5")
    assert "cells.h5ad cannot be read" in message("check", tmp_path / "cells.h5ad")
    (tmp_path / "cells.csv").write_text("a,b\n")
    assert "unknown format" in message("check", tmp_path / "cells.csv")


def test_without_columns_that_look_like_keys_the_options_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, obs=pd.DataFrame({"n_genes": range(120)}, index=[f"c{i}" for i in range(120)]))
    said = say("check", path).output
    assert (
        "No column of obs looks like a key; name those that you have: --batch, --label, --sample, --condition"
        in said
    )
    assert said.endswith(f"  scvi-downstream run {path}\n")


def test_big_matrices_are_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scvi_downstream.command import inspection

    monkeypatch.setattr(inspection, "MOST_VALUES", 200)
    assert "X (2,400 values, of which 8% were looked at)" in say("check", write(tmp_path)).output


def test_the_report_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    monkeypatch.chdir(tmp_path)
    assert "there is no report" in message("report")
    for position, study in enumerate(("old", "new")):
        path = tmp_path / "data" / "08_reporting" / study / "report.html"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (position, position))
    assert say("report", "--no-open").output == f"{path}\n"
    assert not opened
    assert say("report", "old", "--out", tmp_path).output.endswith("old/report.html\n")
    assert opened == [path.with_name("report.html").as_uri().replace("new", "old")]
    assert "the closest is 'old'" in message("report", "odl")


def test_pages_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "there are no runs in" in message("ui", "--out", tmp_path)
    monkeypatch.setattr(errors, "find_spec", lambda _: None)
    assert "pip install 'scvi-downstream[viz]'" in message("viz")


def test_a_port_in_use_is_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind((pages.HOST, 0))
        taken.listen()
        with pytest.raises(InputError, match="is in use; name another by --port"):
            pages._say_where("a page", taken.getsockname()[1])
