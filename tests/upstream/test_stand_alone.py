"""The files work where this package cannot be imported, laid out as the projects that they are for have theirs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scvi_downstream import upstream

FILES = Path(upstream.__file__).parent
DATASETS = {
    "AnnDataDataset": ["stored_files.py", "anndata_dataset.py"],
    "ScviModelDataset": ["stored_files.py", "saved_model.py", "scvi_model_dataset.py"],
}


def run_without(libraries: Sequence[str], code: str, folder: Path) -> None:
    blocked = "".join(f"sys.modules[{library!r}] = None; " for library in ("scvi_downstream", *libraries))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; {blocked}\n{code}"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "libraries"), [("AnnDataDataset", ["torch", "scvi", "scanpy"]), ("ScviModelDataset", [])]
)
def test_examples_run_within_kedro_datasets(tmp_path: Path, name: str, libraries: Sequence[str]) -> None:
    group = tmp_path / "scverse"
    group.mkdir()
    for file in DATASETS[name]:
        shutil.copy(FILES / file, group)
    (group / "__init__.py").write_text(
        "import lazy_loader\n__getattr__, __dir__, __all__ = lazy_loader.attach("
        f"__name__, submod_attrs={{{DATASETS[name][-1].removesuffix('.py')!r}: [{name!r}]}})\n"
    )
    code = f"""
import doctest, pathlib
import kedro_datasets_experimental
from kedro.io import DataCatalog
folder = pathlib.Path({str(tmp_path)!r})
kedro_datasets_experimental.__path__.append(str(folder))
from kedro_datasets_experimental.scverse import {name}
(example,) = doctest.DocTestFinder(recurse=False).find({name}, {name!r}, globs={{"tmp_path": folder}})
assert example.examples and not doctest.DocTestRunner().run(example).failed
made = next(path for path in folder.iterdir() if path.name in ("counts.h5ad", "scvi"))
entry = {{"type": "kedro_datasets_experimental.scverse.{name}", "filepath": str(made)}}
catalog = DataCatalog.from_config({{"entry": entry}})
assert catalog.exists("entry") and catalog.load("entry") is not None
"""
    run_without(libraries, code, tmp_path)


@pytest.mark.slow
def test_the_likelihood_needs_torch_alone(tmp_path: Path) -> None:
    shutil.copy(FILES / "sparse_likelihood.py", tmp_path / "_sparse_likelihood.py")
    code = """
import torch
from _sparse_likelihood import log_nb_positive, log_zinb_positive
x = torch.tensor([[0, 3, 0], [2, 0, 700]])
mu, pi = torch.rand(2, 2, 3, dtype=torch.float64).add(0.1).requires_grad_().unbind()
theta = torch.rand(3, dtype=torch.float64).add(0.1).requires_grad_()
assert torch.autograd.gradcheck(lambda *given: log_nb_positive(x, *given), (mu, theta))
assert torch.autograd.gradcheck(lambda *given: log_zinb_positive(x, *given), (mu, theta, pi))
"""
    run_without(["scvi", "numba", "kedro"], code, tmp_path)


def test_each_file_belongs_to_what_is_offered() -> None:
    lifted = {file for files in DATASETS.values() for file in files} | {"sparse_likelihood.py", "__init__.py"}
    assert {path.name for path in FILES.glob("*.py")} == lifted
