"""A node is made anew when its own code or the libraries that this uses have changed, and not otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

from scvi_downstream.engine import fingerprints
from scvi_downstream.engine.closures import Closure, Project
from scvi_downstream.engine.fingerprints import DISTRIBUTIONS, PROJECT, code_fingerprint, module_fingerprint
from scvi_downstream.pipelines.clustering.nodes import cluster_kmeans, cluster_leiden
from scvi_downstream.pipelines.clustering.plots import plot_clustering
from scvi_downstream.pipelines.clustering.ward import cluster_hierarchical
from scvi_downstream.pipelines.embedding.nodes import build_neighbors
from scvi_downstream.pipelines.reporting.nodes import write_methods
from scvi_downstream.pipelines.training.nodes import train_model
from scvi_downstream.pipelines.training.plots import plot_history

TRAINING = "scvi_downstream.pipelines.training.nodes"


def closure(function: Callable[..., Any]) -> Closure:
    return PROJECT.closure(PROJECT.find(f"{function.__module__}.{function.__name__}"))


def test_every_library_has_its_distribution() -> None:
    known = packages_distributions()
    installed = {name for name in PROJECT.imported() if name in known} - {PROJECT.root.name}
    assert {"anndata", "igraph", "scanpy", "scvi", "sklearn"} <= installed
    for name in installed:
        brought = {distribution.lower().replace("_", "-") for distribution in known[name]}
        assert DISTRIBUTIONS.get(name, name).lower().replace("_", "-") in brought, name


@pytest.mark.parametrize(
    ("edited", "made_anew", "kept"),
    [
        ("pipelines.clustering.nodes._partition", [cluster_kmeans], [cluster_leiden, cluster_hierarchical]),
        ("pipelines.clustering.nodes.cluster_leiden", [cluster_leiden], [cluster_kmeans]),
        ("pipelines.clustering.plots.plot_clustering", [plot_clustering], [cluster_kmeans, plot_history]),
        ("pipelines.training.plots.plot_history", [plot_history], [train_model]),
        ("models.fitting.fit", [train_model], [cluster_kmeans]),
        ("models.autoencoders.ScanviSpec", [train_model], [cluster_kmeans]),
        ("models.count_kernels.compiled", [train_model], [cluster_kmeans]),
        ("runtime.options.Options", [cluster_kmeans, cluster_leiden], [plot_history]),
        ("pipelines.reporting.page.render", [write_methods], [cluster_kmeans, train_model]),
        ("engine.workers.execute", [], [cluster_kmeans, train_model, plot_history]),
    ],
)
def test_an_edit_makes_anew_what_reaches_it(edited: str, made_anew: list, kept: list) -> None:
    (place,) = (place for place in PROJECT.find(f"scvi_downstream.{edited}") if place[1] >= 0)
    assert edited.endswith(tuple(PROJECT.definition(place).names))
    assert all(place in closure(function).definitions for function in made_anew)
    assert not any(place in closure(function).definitions for function in kept)


def test_data_files_beside_the_code_count() -> None:
    def data(dotted: str) -> set[str]:
        found = PROJECT.closure(PROJECT.find(f"scvi_downstream.{dotted}")).data
        return {str(file.relative_to(PROJECT.root)) for file in found}

    assert data("report.bibliography.write_references") == {"report/references.bib"}
    assert "bridges/monocle_r.R" in data("bridges.monocle_r")
    assert "pipelines/proteins/methods.jinja" in data("pipelines.reporting.nodes.write_methods")


def test_libraries_that_decide_numbers_count_with_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "faiss" in closure(build_neighbors).libraries
    assert {"scvi", "torch"} <= closure(train_model).libraries
    found = fingerprints._versions(["faiss", "pynndescent"])
    assert found["faiss-cpu"] == version("faiss-cpu")
    assert {"pynndescent", "numba", "numpy", "scipy"} <= set(found)
    before = code_fingerprint(build_neighbors)
    monkeypatch.setitem(DISTRIBUTIONS, "faiss", "another-library")
    fingerprints._fingerprint.cache_clear()
    assert code_fingerprint(build_neighbors) != before
    fingerprints._fingerprint.cache_clear()


def test_another_version_of_matplotlib_retrains_no_model() -> None:
    assert "matplotlib" not in closure(train_model).libraries
    assert "matplotlib" in closure(plot_history).libraries


def test_a_modules_own_fingerprint_counts_all_of_it() -> None:
    every = PROJECT.closure(PROJECT.find(cluster_kmeans.__module__)).definitions
    assert every > closure(cluster_kmeans).definitions | closure(cluster_leiden).definitions
    assert module_fingerprint(cluster_kmeans.__module__) != code_fingerprint(cluster_kmeans)


def test_bound_arguments_do_not_hide_the_function() -> None:
    assert code_fingerprint(partial(cluster_kmeans, seed=1)) == code_fingerprint(cluster_kmeans)
    assert code_fingerprint(cluster_kmeans) != code_fingerprint(cluster_leiden)


def test_functions_of_other_projects_count_by_their_file() -> None:
    assert code_fingerprint(closure) == code_fingerprint(test_bound_arguments_do_not_hide_the_function)
    assert code_fingerprint(closure) != code_fingerprint(shutil.copytree)
    assert code_fingerprint(json_like) != code_fingerprint(closure)


def json_like() -> None:
    """Stands in another module, as far as its name goes."""


json_like.__module__ = "json"


def test_no_family_is_a_module_of_the_project() -> None:
    """What `models/specification.py` and `models/scvi_internals.py` look up by name are parts of libraries."""
    from scvi_downstream.models.families import FAMILIES
    from scvi_downstream.models.scvi_internals import PRIVATE

    assert {spec.module.partition(".")[0] for spec in FAMILIES.values()} == {"scvi"}
    assert not any(name.startswith("scvi_downstream") for name in PRIVATE)
    assert any(name.startswith("scvi.") for name in PRIVATE)


@pytest.mark.thorough
def test_a_copy_elsewhere_has_the_same_fingerprints(tmp_path: Path) -> None:
    shutil.copytree(PROJECT.root, tmp_path / PROJECT.root.name, ignore=shutil.ignore_patterns("__pycache__"))
    asked = (
        "from scvi_downstream.engine import fingerprints as f; "
        f"print(f.__file__, f.module_fingerprint('{TRAINING}'))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    place, fingerprint = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert fingerprint == module_fingerprint(TRAINING)
    # comments and the texts of the documentation do not count
    nodes = tmp_path / PROJECT.root.name / "pipelines" / "clustering" / "nodes.py"
    copied = Project(nodes.parents[2])
    before = copied.modules["scvi_downstream.pipelines.clustering.nodes"]
    assert '"""k-means on a latent' in nodes.read_text()
    nodes.write_text(
        nodes.read_text().replace('"""k-means', '"""K-means').replace("\n\n\n", "\n\n\n# A remark.\n")
    )
    after = Project(nodes.parents[2]).modules["scvi_downstream.pipelines.clustering.nodes"]
    assert [each.state for each in after.definitions] == [each.state for each in before.definitions]
