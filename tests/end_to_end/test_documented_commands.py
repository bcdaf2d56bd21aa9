"""Every `kedro` and `scvi-downstream` command of the README and the user guide, run as it stands there (in little)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]
CELLS, TABLE, MARKERS, REFERENCE, RESULTS = (
    f"/path/to/{name}" for name in ("cells.h5ad", "samples.csv", "markers.csv", "reference", "results")
)


def documented(page: str, program: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (PROJECT / page).read_text(), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(f".venv/bin/{program} ")]


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 PBMCs with keys of their own, a table by donor and one of marker genes, as a user would bring them."""
    from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset

    cells = CountsInputDataset(source="pbmc68k").load()[:300].copy()
    cells.obs = cells.obs.rename(columns={"batch": "donor"})[["donor", "cell_type"]]
    folder = tmp_path_factory.mktemp("own")
    cells.write_h5ad(folder / "cells.h5ad")
    batches = sorted(cells.obs["donor"].unique())
    table = pd.DataFrame({"batch": batches, "age": [30 + 5 * i for i in range(len(batches))]})
    table.to_csv(folder / "samples.csv", index=False)
    (folder / "markers.csv").write_text(
        "type,gene,sign\nB,CD79A,+\nB,MS4A1,+\nB,LYZ,-\nMonocyte,LYZ,+\nMonocyte,S100A8,+\n"
    )
    return folder


PAGES = ("README.md", "docs/user-guide.md", "docs/choosing-a-model.md", "docs/serving.md")


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in documented(page, "kedro")})
)
def test_command_works_as_documented(command: str, study_copy: Any, own_files: Path, kedro: Any) -> None:
    brought = {
        CELLS: own_files / "cells.h5ad",
        TABLE: own_files / "samples.csv",
        MARKERS: own_files / "markers.csv",
        REFERENCE: study_copy.folder("06_models") / "scvi" / "fitted",
    }
    for page, file in brought.items():
        command = command.replace(page, str(file))
    _, *words = shlex.split(command)
    if words[1:] == ["--env", "test"]:
        assert "is done" in study_copy.output
        return
    if "--params" in words:
        position = words.index("--params") + 1
        words[position] += f",{study_copy.params}"
    else:
        words += ["--params", study_copy.params]
    if "metadata=" in command:  # the demonstration has batches only
        words[words.index("--params") + 1] += ",preparation.metadata_key=batch"
    done = kedro(*words, "--env", "test", tracking_uri=study_copy.tracking_uri)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "is done" in done.stdout
    if "study=mine" in command:
        assert (study_copy.data_root / "08_reporting" / "mine" / "report.html").exists()


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in documented(page, "scvi-downstream")})
)
def test_own_command_works_as_documented(
    command: str, study_copy: Any, own_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scvi_downstream.command import main

    monkeypatch.setenv("MLFLOW_TRACKING_URI", study_copy.tracking_uri)
    monkeypatch.chdir(study_copy.data_root.parent)
    for page, file in {CELLS: own_files / "cells.h5ad", RESULTS: tmp_path}.items():
        command = command.replace(page, str(file))
    _, verb, *words = shlex.split(command)
    # Kedro's command above has done the same study: what is up to date is not done again.
    as_mine = ["--conf", PROJECT / "conf" / "test", "--workers", 1, "--set", "study=mine"]
    more = {"run": as_mine, "report": ["--no-open"]}
    done = CliRunner().invoke(main, [verb, *words, *map(str, more.get(verb, []))])
    assert done.exit_code == 0, done.output[-3000:]
    results = tmp_path if "--out" in words else study_copy.data_root.parent
    said = {"run": "is done", "check": "--batch donor --label cell_type", "report": "report.html"}[verb]
    assert said in done.output
    if verb == "run":
        assert (results / "data" / "08_reporting" / "mine" / "report.html").exists()


def test_the_pages_hold_commands_to_run() -> None:
    assert len(documented("docs/user-guide.md", "kedro")) >= 4
    assert len(documented("docs/choosing-a-model.md", "kedro")) == 5
    assert len(documented("docs/serving.md", "kedro")) == 1
    assert len(documented("README.md", "kedro")) == 1
    assert len(documented("README.md", "scvi-downstream")) == 3
