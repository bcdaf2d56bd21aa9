from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_walkthrough_runs_on_the_results(study_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("KEDRO_ENV", "test")
    monkeypatch.setenv("STUDY_PARAMS", study_run.params)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(PROJECT / "notebooks" / "walkthrough.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PROJECT)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    decided = next(page for page in tables(shown) if "decision" in page)
    assert all(question in decided for question in ("Comparison", "Clusters", "Cell types", "Batch effects"))
    following = yaml.safe_load(
        next(output["text"] for output in shown if "primary:" in output.get("text", ""))
    )
    assert following["input"] == "pbmc68k"


def tables(shown: list[Any]) -> list[str]:
    return [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
