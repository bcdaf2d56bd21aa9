"""An analysis written as the docs say is everywhere, and gone when it is taken away."""

from __future__ import annotations

import shutil
from typing import Any

import anndata
import pytest

pytestmark = pytest.mark.slow


def test_it_is_in_all_results(extended: Any) -> None:
    from mlflow import MlflowClient

    names, study = "complexity,reporting", f"data_root={extended.data_root},workers=1"
    shown = extended.run("run", "--env", "test", "--pipelines", names, "--params", study)
    assert "genes for the counts of each cell" in shown
    assert "Complexity: The lowest complexity is 0." in shown
    reported = extended.data_root / "08_reporting" / "test"
    assert (reported / "complexity.png").exists()
    html = (reported / "report.html").read_text()
    assert "Genes for the counts of each cell." in html
    assert "5% of the cells have a complexity below" in html
    assert "The lowest complexity is 0." in html
    assert "**Complexity.** The complexity of a cell is" in (reported / "methods.md").read_text()
    analysed = anndata.read_h5ad(extended.data_root / "07_model_output" / "test" / "analysed.h5ad")
    assert analysed.obs["complexity"].between(0, 1).all()
    client = MlflowClient(tracking_uri=extended.tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert 0 < run.data.metrics["complexity.low"] < 1


def test_it_is_registered_and_gone_when_its_folder_and_line_are(extended: Any, tmp_path: Any) -> None:
    from .conftest import Extended, pieces_of_page

    assert "- complexity\n" in extended.run("registry", "list")
    without = Extended(tmp_path / "project", extended.data_root, extended.tracking_uri)
    shutil.copytree(extended.project, without.project)
    for name, content in pieces_of_page().items():
        file = without.project / name
        file.write_text(file.read_text().replace(content, ""))
    shutil.rmtree(without.project / "src/scvi_downstream/pipelines/complexity")
    (without.project / "conf/base/parameters_complexity.yml").unlink()
    assert "complexity" not in without.run("registry", "list")
    left = [path for path in without.project.rglob("*.*") if path.suffix in (".py", ".yml", ".jinja")]
    assert not [path for path in left if "complexity" in path.read_text()]
