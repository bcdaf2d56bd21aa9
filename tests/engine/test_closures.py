"""What a function reaches: read from small packages, and checked against what is called when real nodes run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.engine.closures import Project
from scvi_downstream.engine.definitions import read
from scvi_downstream.engine.fingerprints import PROJECT
from scvi_downstream.pipeline_registry import register_pipelines
from scvi_downstream.pipelines.clustering.nodes import (
    assemble_clusters,
    cluster_kmeans,
    cluster_leiden,
    compare_clusterings,
    resample_leiden,
)
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.plots import plot_clustering, plot_dendrogram
from scvi_downstream.pipelines.clustering.ward import cluster_hierarchical
from scvi_downstream.pipelines.embedding.nodes import build_neighbors
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.study.defaults import defaults_of

Files = Mapping[str, str]
BASE: Files = {
    "__init__.py": "",
    "top.py": "from made.middle import step\n\ndef start(x):\n    return step(x)\n\ndef beside():\n    return 1\n",
    "middle.py": (
        "import math\nimport json\nfrom made import deep\nfrom made.deep import FACTOR as scale\n\n"
        "def step(x):\n    return _double(x) * scale\n\n"
        "def _double(x):\n    return deep.double(x)\n\ndef other(x):\n    return json.dumps(x)\n"
    ),
    "deep.py": (
        "FACTOR = 3\nUNUSED = 4\n\ndef double(x, by=2):\n    return x * by\n\n"
        "def lonely():\n    return UNUSED\n"
    ),
}


def made(folder: Path, files: Files) -> Project:
    for name, text in files.items():
        file = folder / "made" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Project(folder / "made")


def state(project: Project, dotted: str = "made.top.start") -> list[str]:
    """Of all that a function reaches."""
    return sorted(
        project.definition(place).state for place in project.closure(project.find(dotted)).definitions
    )


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., bool]:
    """Whether a change of files changes what a function reaches."""

    def differs(files: Files, change: Mapping[str, tuple[str, str]], dotted: str = "made.top.start") -> bool:
        after = dict(files)
        for name, (old, new) in change.items():
            assert old in after[name]
            after[name] = after[name].replace(old, new)
        return state(made(tmp_path / "a", files), dotted) != state(made(tmp_path / "b", after), dotted)

    return differs


def names(project: Project, dotted: str) -> set[str]:
    found = project.closure(project.find(dotted)).definitions
    return {f"{place[0]}.{name}" for place in found for name in project.definition(place).names}


@pytest.mark.parametrize(
    "change",
    [
        {"deep.py": ("FACTOR = 3", "FACTOR = 5")},
        {"deep.py": ("by=2", "by=3")},
        {"deep.py": ("x * by", "by * x")},
        {"middle.py": ("FACTOR as scale", "UNUSED as scale")},
        {"top.py": ("step(x)\n\n", "step(x) + 1\n\n")},
        {"deep.py": ("FACTOR = 3", "FACTOR = 3\nFACTOR += 1")},
        {"deep.py": ("FACTOR = 3", "FACTOR = 3\nprint('loaded')")},
        {"deep.py": ("FACTOR = 3", "FACTOR = 3\nif FACTOR:\n    UNUSED = 1")},
    ],
)
def test_what_is_reached_counts(changed, change: dict) -> None:
    assert changed(BASE, change)


@pytest.mark.parametrize(
    "change",
    [
        {"deep.py": ("UNUSED = 4", "UNUSED = 5")},
        {"deep.py": ("return UNUSED", "return -UNUSED")},
        {"middle.py": ("json.dumps(x)", "json.dumps([x])")},
        {"middle.py": ("import math\n", "import math\nimport statistics\n")},
        {"top.py": ("return 1", "return 2")},
        {"deep.py": ("def double(x, by=2):\n", "def double(x, by=2):\n    '''Twice.'''\n\n    # so much\n")},
        {"deep.py": ("FACTOR = 3\n", "\n\nFACTOR = (\n    3\n)\n'''So many.'''\n")},
        {"middle.py": ("import math\nimport json\n", "'''Said anew.'''\nimport json\nimport math\n")},
    ],
)
def test_what_is_not_reached_does_not_count(changed, change: dict) -> None:
    assert not changed(BASE, change)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\f\0"), max_size=40), st.integers(1, 4))
def test_comments_and_blank_lines_never_count(text: str, lines: int) -> None:
    def states(code: str) -> list[str]:
        return [each.state for each in read(code, "made.deep").definitions]

    code = BASE["deep.py"]
    commented = code.replace("    return", f"    # {text}\n" + "\n" * lines + "    return").replace(
        "\n\n", "\n" * lines
    )
    assert states(commented) == states(code)
    assert states(code.replace("    return", f"    {text!r}\n    return")) == states(code)


def test_names_are_followed_through_packages_and_aliases(tmp_path: Path) -> None:
    project = made(
        tmp_path,
        {
            "__init__.py": "",
            "shown/__init__.py": "from made.shown.inner import hidden as offered\nfrom . import inner\n",
            "shown/inner.py": "def hidden():\n    return LEVEL\n\nLEVEL = 1\n\ndef never():\n    return 0\n",
            "uses.py": (
                "import made.shown.inner\nimport made.shown as m\nfrom made import shown\n"
                "from .shown import offered as o\n\n"
                "def a():\n    return made.shown.inner.hidden()\n\ndef b():\n    return m.offered()\n\n"
                "def c():\n    return shown.inner.hidden()\n\ndef d():\n    return o()\n\n"
                "def e():\n    from made.shown.inner import hidden\n    return hidden()\n"
            ),
        },
    )
    for name in "abcde":
        assert names(project, f"made.uses.{name}") == {
            f"made.uses.{name}", "made.shown.inner.hidden", "made.shown.inner.LEVEL",
        }, name  # fmt: skip


def test_classes_count_whole_with_bases_subclasses_and_annotations(tmp_path: Path) -> None:
    project = made(
        tmp_path,
        {
            "__init__.py": "",
            "kinds.py": (
                "def used():\n    pass\n\nclass Base:\n    def run(self):\n        return used()\n\n"
                "class Own(Base):\n    pass\n\nclass Failed(ValueError):\n    pass\n\nclass Worse(Failed):\n    pass\n"
            ),
            "far.py": "from made.kinds import Base\n\ndef rare():\n    pass\n\nclass Far(Base):\n    run = rare\n",
            "uses.py": (
                "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                "    from made.kinds import Base\nfrom made.kinds import Failed, Own\n\n"
                "def given(it: Base):\n    return it.run()\n\ndef quoted(it: 'list[Base]'):\n    return it[0].run()\n\n"
                "def own(it: Own):\n    return it\n\ndef fails():\n    raise Failed\n"
            ),
        },
    )
    every = {"made.kinds.Base", "made.kinds.Own", "made.kinds.used", "made.far.Far", "made.far.rare"}
    assert names(project, "made.uses.given") == {"made.uses.given", *every}
    assert names(project, "made.uses.quoted") == {"made.uses.quoted", *every}
    assert names(project, "made.uses.own") == {
        "made.uses.own", "made.kinds.Own", "made.kinds.Base", "made.kinds.used",
    }  # fmt: skip
    assert names(project, "made.uses.fails") == {"made.uses.fails", "made.kinds.Failed"}


def test_what_is_done_when_a_module_is_loaded_counts(tmp_path: Path) -> None:
    project = made(
        tmp_path,
        {
            "__init__.py": "",
            "registry.py": "KNOWN = {}\n\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f\n",
            "by_decorator.py": "from made.registry import register\n\n@register\ndef one():\n    pass\n",
            "by_item.py": "from made.registry import KNOWN\n\ndef two():\n    pass\n\nKNOWN['two'] = two\n",
            "by_call.py": "from made.registry import register\n\ndef three():\n    pass\n\nsame = register(three)\n",
            "uses.py": (
                "import made.by_decorator\nfrom made import by_item\nfrom made.registry import KNOWN\n\n"
                "def run(name):\n    import made.by_call\n    return KNOWN[name]()\n\ndef other():\n    return 1\n"
            ),
        },
    )
    found = names(project, "made.uses.run")
    assert {
        "made.by_decorator.one",
        "made.by_item.two",
        "made.by_call.three",
        "made.registry.register",
    } <= found
    assert "made.by_call.three" not in names(project, "made.uses.other")
    assert {"made.by_decorator.one", "made.by_item.two"} <= names(project, "made.uses.other")


@pytest.mark.parametrize(
    "code",
    [
        "from importlib import import_module\n\ndef run(name):\n    return import_module(name)\n",
        "import importlib as i\n\ndef run(name):\n    return i.import_module('made.' + name)\n",
        "import sys\n\ndef run(name):\n    return sys.modules[name]\n",
        "import sys\n\ndef run(name):\n    return getattr(sys, name)\n",
        "def run(name):\n    return __import__(name)\n",
        "def run(name):\n    return eval(name)\n",
        "from made.kept import load\n\ndef run(name):\n    return load(name)\n",
        "from made.deep import *\nfrom made import middle, top\n\ndef run():\n    return [m for m in (middle, top)]\n",
        "import made\n\ndef run(name):\n    return getattr(made, name)\n",
        "from made import kept\n\ndef run(name):\n    return kept.missing\n",
    ],
)
def test_what_cannot_be_resolved_reaches_all(tmp_path: Path, code: str) -> None:
    kept = "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"
    project = made(tmp_path, {**BASE, "uses.py": code, "kept.py": kept})
    assert {"made.deep.lonely", "made.middle.other", "made.top.beside"} <= names(project, "made.uses.run")


def test_a_module_handed_on_counts_whole_and_a_literal_name_is_followed(tmp_path: Path) -> None:
    project = made(
        tmp_path,
        {
            **BASE,
            "uses.py": (
                "from importlib import import_module\nfrom made import deep\n\n"
                "def whole(name):\n    return getattr(deep, name)\n\n"
                "def named():\n    return import_module('made.deep')\n\n"
                "def own(name):\n    return globals()[name]\n"
            ),
        },
    )
    every = {"made.deep.lonely", "made.deep.double", "made.deep.FACTOR", "made.deep.UNUSED"}
    assert names(project, "made.uses.whole") == {"made.uses.whole", *every}
    assert names(project, "made.uses.named") == {"made.uses.named", *every}
    assert {"made.uses.own", "made.uses.whole", *every} <= names(project, "made.uses.own")


def test_libraries_are_those_of_the_definitions_reached(tmp_path: Path) -> None:
    project = made(
        tmp_path,
        {
            "__init__.py": "",
            "uses.py": (
                "import numpy as np\nfrom scipy import sparse\n\ndef a():\n    return np.ones(1)\n\n"
                "def b():\n    import sklearn.cluster\n    return sparse\n\nclass C(np.ndarray):\n    pass\n"
            ),
        },
    )
    found = {name: project.closure(project.find(f"made.uses.{name}")).libraries for name in "abC"}
    assert found == {"a": {"numpy"}, "b": {"scipy", "sklearn"}, "C": {"numpy"}}


def test_files_beside_the_code_count_for_who_reads_them(tmp_path: Path) -> None:
    own = (
        "from importlib.resources import files\n\ndef read():\n    return files(__package__) / 'a.jinja'\n\n"
        "def no():\n    pass\n"
    )
    files = {"one/code.py": own, "one/a.jinja": "a", "two/b.jinja": "b"}
    project = made(tmp_path, {**files, "any.py": own.replace("__package__", "package")})
    folder = project.root
    assert project.closure(project.find("made.one.code.read")).data == {folder / "one" / "a.jinja"}
    assert project.closure(project.find("made.any.read")).data == {
        folder / "one/a.jinja",
        folder / "two/b.jinja",
    }
    assert not project.closure(project.find("made.one.code.no")).data


def test_the_cache_says_the_same_and_may_be_missing_or_broken(tmp_path: Path) -> None:
    first = state(made(tmp_path, BASE))
    (cache,) = (tmp_path / "made" / "__pycache__").iterdir()
    assert state(Project(tmp_path / "made")) == first
    cache.write_bytes(b"{")
    assert state(Project(tmp_path / "made")) == first
    made(tmp_path, {"deep.py": BASE["deep.py"].replace("FACTOR = 3", "FACTOR = 5")})
    assert state(Project(tmp_path / "made")) != first


def test_a_file_that_cannot_be_read_counts_whole(changed) -> None:
    broken = {**BASE, "deep.py": BASE["deep.py"] + "def half(:\n"}
    assert changed(broken, {"deep.py": ("UNUSED = 4", "UNUSED = 5")})
    assert not changed({**BASE, "far.py": "def half(:\n"}, {"far.py": ("half", "whole")})


def called(function: Callable[[], object], project: Project) -> set[str]:
    """Dotted names of all top-level functions and classes of a project of which something is called."""
    modules = {str(file): module for module, file in project.files.items()}
    seen: set[tuple[str, str]] = set()

    def watch(code: CodeType, _: int) -> object:
        if code.co_filename in modules:
            seen.add((modules[code.co_filename], code.co_qualname.partition(".")[0]))
        return sys.monitoring.DISABLE  # once is enough

    tool, started = sys.monitoring.OPTIMIZER_ID, sys.monitoring.events.PY_START
    sys.monitoring.use_tool_id(tool, "closures")
    sys.monitoring.register_callback(tool, started, watch)
    sys.monitoring.restart_events()
    sys.monitoring.set_events(tool, started)
    try:
        function()
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    return {f"{module}.{name}" for module, name in seen if not name.startswith("<")}


@pytest.mark.thorough
def test_all_that_real_nodes_call_is_reached() -> None:
    clustering, embedding = defaults_of(ClusteringOptions), defaults_of(EmbeddingOptions)
    points = np.random.default_rng(0).normal(size=(90, 3)) + 6 * np.repeat(np.eye(3), 30, axis=0)
    latent = pd.DataFrame(points, index=[f"cell {number}" for number in range(90)])
    made: dict[str, Any] = {}

    def run(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        found = called(lambda: made.update(result=function(*arguments, **keywords)), PROJECT)
        dotted = f"{function.__module__}.{function.__qualname__}"
        assert dotted in found
        assert found <= names(PROJECT, dotted), found - names(PROJECT, dotted)
        return made["result"]

    neighbors = run(build_neighbors, latent, embedding, 0)
    leiden = run(cluster_leiden, neighbors, clustering, 0)
    stability = run(resample_leiden, neighbors, leiden, clustering, 0)
    kmeans, silhouette = run(cluster_kmeans, latent, clustering, 0)
    tree, linkage = run(cluster_hierarchical, latent, leiden, stability, clustering)
    clusters, summary = run(
        assemble_clusters, leiden, stability, silhouette, clustering, kmeans=kmeans, hierarchical=tree
    )
    run(plot_dendrogram, linkage, tree)
    counts = ad.AnnData(np.ones((90, 2)), obs=pd.DataFrame(index=latent.index).assign(kind="a"))
    agreement = run(compare_clusterings, clusters, counts, Keys())
    run(plot_clustering, stability, silhouette, agreement, summary)


def test_who_lists_the_capabilities_reaches_all_and_no_one_else_does() -> None:
    listing = "scvi_downstream.pipelines.analyses"
    everything = set(PROJECT.modules)
    wide = set()
    for function in {
        inner(node.func) for pipeline in register_pipelines().values() for node in pipeline.nodes
    }:
        dotted = f"{function.__module__}.{function.__qualname__}"
        found = PROJECT.closure(PROJECT.find(dotted)).definitions
        assert PROJECT.find(dotted) & found, dotted
        if listing in names(PROJECT, dotted):
            wide.add(function.__name__)
            assert {module for module, _ in found} >= {
                name for name in everything if PROJECT.modules[name].definitions
            }
    assert wide == {"write_methods", "render_report"}


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, partial):
        function = function.func
    return function
