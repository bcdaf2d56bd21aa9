"""Every `kedro` command of the README and the user guide, run as it stands there (in little)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]
FILE_IN_THE_PAGES = "/path/to/cells.h5ad"


def documented(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (PROJECT / page).read_text(), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(".venv/bin/kedro")]


@pytest.fixture(scope="module")
def own_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 PBMCs in a file with keys of its own, as a user would bring them."""
    from scvi_downstream.datasets import CountsInputDataset

    cells = CountsInputDataset(source="pbmc68k").load()[:300].copy()
    cells.obs = cells.obs.rename(columns={"batch": "donor"})[["donor", "cell_type"]]
    path = tmp_path_factory.mktemp("own") / "cells.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.mark.parametrize("command", sorted({*documented("docs/user-guide.md"), *documented("README.md")}))
def test_command_works_as_documented(command: str, study_run: Any, own_cells: Path, kedro: Any) -> None:
    _, *words = shlex.split(command.replace(FILE_IN_THE_PAGES, str(own_cells)))
    if words[1:] == ["--env", "test"]:
        assert "is done" in study_run.output
        return
    if "--params" in words:
        position = words.index("--params") + 1
        words[position] += f",{study_run.params}"
    else:
        words += ["--params", study_run.params]
    done = kedro(*words, "--env", "test", tracking_uri=study_run.tracking_uri)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "is done" in done.stdout
    if str(own_cells) in " ".join(words):
        assert (study_run.data_root / "08_reporting" / "mine" / "report.html").exists()


def test_the_pages_hold_commands_to_run() -> None:
    assert len(documented("docs/user-guide.md")) >= 4
    assert len(documented("README.md")) == 1
