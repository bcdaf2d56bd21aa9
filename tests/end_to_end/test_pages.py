"""Each page that starts from what a biologist has: its commands on real cells in little, and the lines it speaks of."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import anndata
import pytest
from click.testing import CliRunner

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", PROJECT.parent / "shared" / "data"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"real cells are not in {DATA}")]

# What no page speaks of but that on conditions, whose run has all of it, is left out.
FEW = (
    "models.ldvae=null",
    "comparison.baselines=[]",
    "training.max_epochs=2",
    "preparation.n_top_genes=150",
    "clustering.leiden_resolutions=[0.5]",
    "workers=1",
)


def one_sample(folder: Path) -> None:
    some(folder, "pbmc3k", 9)


def some(folder: Path, name: str, step: int = 1) -> None:
    """Every n-th cell of a file, under its name."""
    anndata.read_h5ad(DATA / f"{name}.h5ad")[::step].copy().write_h5ad(folder / f"{name}.h5ad")


def atlas(folder: Path) -> None:
    """Plates without a line as the reference, Drop-seq as the query."""
    cells = anndata.read_h5ad(DATA / "cell_lines.h5ad")
    cells = cells[cells.obs["demuxlet_cls"] == "SNG"]
    query = (cells.obs["batch"] == "sc_dropseq").to_numpy()
    cells[~query & (cells.obs["cell_line"] != "H2228").to_numpy()][::2].copy().write_h5ad(
        folder / "atlas.h5ad"
    )
    cells[query].copy().write_h5ad(folder / "query.h5ad")


# docs/conditions.md is run by the installed wheel.
PAGES: dict[str, Callable[[Path], None]] = {
    "one-sample": one_sample,
    "citeseq": lambda folder: some(folder, "citeseq_pbmc"),
    "time-course": lambda folder: some(folder, "worm_embryo", 4),
    "atlas": atlas,
}


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("scvi-downstream")]


@pytest.mark.parametrize("page", PAGES)
def test_page_works_as_it_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scvi_downstream.command import main

    PAGES[page](tmp_path)
    (tmp_path / "little").mkdir()
    settings = (PROJECT / "conf" / "test" / "parameters.yml").read_text().replace("study: test\n", "")
    (tmp_path / "little" / "parameters.yml").write_text(settings)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    few = [word for setting in FEW for word in ("--set", setting)]
    text, found = (PROJECT / "docs" / f"{page}.md").read_text(), {}
    for command in commands(text):
        _, *words = shlex.split(command)
        words += {"run": ["--conf", "little", *few], "report": ["--no-open"]}.get(words[0], [])
        with contextlib.chdir(tmp_path):
            done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{command}\n{done.output[-3000:]}\n{done.exception!r}"
        found |= dict(
            re.findall(r"^  (?:holds|uncertain|does not hold) +([A-Z][\w -]+): (.+)$", done.output, re.M)
        )
    spoken_of = set(re.findall(r"\*\*([A-Z][\w -]+)\*\*", text))
    assert spoken_of
    assert spoken_of <= set(found), spoken_of - set(found)


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert [page for page in (*PAGES, "conditions") if f"(docs/{page}.md)" not in readme] == []
