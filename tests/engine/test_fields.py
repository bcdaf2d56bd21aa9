"""Of its options a function's result hangs on those that it reads, wherever they are handed on to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from scvi_downstream.engine.closures import Project
from scvi_downstream.engine.fields import part_read
from scvi_downstream.engine.fingerprints import digest, used_part
from scvi_downstream.pipelines.clustering.nodes import (
    assemble_clusters,
    cluster_kmeans,
    cluster_leiden,
    resample_leiden,
)
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.ward import cluster_hierarchical
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.plots import plot_volcano
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.imputation.scoring import score_imputation
from scvi_downstream.study.defaults import defaults_of

OPTIONS = """
from dataclasses import dataclass, field
from functools import cached_property
from pydantic import BaseModel

class Inner(BaseModel):
    deep: int = 1
    other: int = 2

class Base(BaseModel):
    a: int = 1
    b: int = 2
    c: int = 3
    inner: Inner = Inner()

    @property
    def double(self):
        return 2 * self.b

    def plus(self, more):
        return self.double + self.c + more

    @classmethod
    def named(cls):
        return cls.__name__

    def dumped(self):
        return self.model_dump()

    def own(self):
        return super().__repr__()

class Kind(Base):
    @property
    def double(self):
        return 3 * self.a

@dataclass(frozen=True)
class Study:
    parameters: dict
    options: dict
    primary: str = "x"
"""
USES = """
from made.options import Base, Inner
import made.far
from made.far import passed, reads_b

def none(o): return 1
def one(o): return o.a
def two(o): return o.a + [o.b for _ in range(2)][0]
def nested(o): return o.inner.deep
def whole_nested(o):
    inner = o.inner
    return inner.deep
def constant(o): return getattr(o, "c")
def by_property(o): return o.double
def by_method(o): return o.plus(1)
def of_class(o): return o.named()
def inside(o):
    def later(): return o.c
    return later()
def handed(o): return passed(o)
def handed_by_name(o): return made.far.by_keyword(o=o, x=1)
def recursive(o, n): return o.a if n == 0 else recursive(o, n - 1) + reads_b(o)
def in_annotation(o: "Base") -> int: return o.a
def items(s): return s.options["de"].b, s.parameters["seed"]

def dumps(o): return o.model_dump()
def dumps_inside(o): return o.dumped()
def by_super(o): return o.own()
def returned(o): return o
def stored(o): return {"o": o}
def said(o): return f"{o}"
def compared(o): return o == 1
def library(o): return print(o)
def dynamic(o, name): return getattr(o, name)
def starred(o): return passed(*[o])
def aliased(o):
    p = o
    return p.b
def through_shadow(o, passed): return passed(o)
def through_local(o):
    reads_b = print
    return reads_b(o)
def through_class(o): return made.far.Holder(o)
def through_rest(o): return made.far.rest(1, o)
def through_decorated(o): return made.far.decorated(o)
def seen(o): return locals()
def rest(**o): return o
def any_item(s, name): return s.options[name].b
"""
FAR = """
def passed(o): return reads_b(o) + o.c
def reads_b(x): return x.b
def by_keyword(*, x, o): return o.inner.other
def rest(x, *o): return o[0].b
def twice(f): return f
@twice
def decorated(o): return o.b
class Holder:
    def __init__(self, o): self.o = o
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, ModuleType]]:
    folder = tmp_path_factory.mktemp("fields")
    for name, text in {"__init__": "", "options": OPTIONS, "uses": USES, "far": FAR}.items():
        (folder / "made").mkdir(exist_ok=True)
        (folder / "made" / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    import made.options

    yield Project(folder / "made"), made.options
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


def read_by(
    small: tuple[Project, ModuleType], name: str, value: object, place: int | str = 0
) -> set[str] | None:
    found = part_read(small[0], f"made.uses.{name}", place, value)
    return None if found is value else set(found) - {""}


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("none", ""), ("one", ".a"), ("two", ".a .b"), ("nested", ".inner.deep"), ("whole_nested", ".inner"),
        ("constant", ".c"), ("by_property", ".b"), ("by_method", ".b .c"), ("of_class", ""), ("inside", ".c"),
        ("handed", ".b .c"), ("handed_by_name", ".inner.other"), ("recursive", ".a .b"), ("in_annotation", ".a"),
    ],
)  # fmt: skip
def test_what_is_read(small, name: str, paths: str) -> None:
    assert read_by(small, name, small[1].Base()) == set(paths.split())
    assert read_by(small, name, small[1].Base(), "o") == set(paths.split())


@pytest.mark.parametrize(
    "name",
    [
        "dumps", "dumps_inside", "by_super", "returned", "stored", "said", "compared", "library", "dynamic", "starred",
        "aliased", "through_shadow", "through_local", "through_class", "through_rest", "through_decorated", "seen",
        "rest", "missing",
    ],
)  # fmt: skip
def test_what_cannot_be_told_counts_whole(small, name: str) -> None:
    assert read_by(small, name, small[1].Base()) is None


def test_methods_are_those_of_the_arguments_own_class(small) -> None:
    assert read_by(small, "by_property", small[1].Kind()) == {".a"}
    assert read_by(small, "by_method", small[1].Kind()) == {".a", ".c"}
    assert digest(part_read(small[0], "made.uses.none", 0, small[1].Kind())) != digest(
        part_read(small[0], "made.uses.none", 0, small[1].Base())
    )


def test_items_of_constant_keys_are_followed(small) -> None:
    study = small[1].Study({"seed": 1, "input": "x"}, {"de": small[1].Base(), "other": small[1].Base()})
    assert read_by(small, "items", study) == {".options[de].b", ".parameters[seed]"}
    assert read_by(small, "any_item", study) == {".options"}
    assert read_by(small, "items", small[1].Study({}, {"de": small[1].Base()})) == {
        ".options[de].b",
        ".parameters",
    }


def test_plain_values_count_as_they_are(small) -> None:
    for value in (3, "x", {"a": 1}, None, [1]):
        assert part_read(small[0], "made.uses.one", 0, value) is value


CHANGES: dict[str, dict[str, Any]] = {
    "leiden_resolutions": {"leiden_resolutions": (0.3, 0.9)},
    "kmeans_k": {"kmeans_k": 7},
    "kmeans_max_k": {"kmeans_max_k": 9},
    "hierarchical_k": {"hierarchical_k": 4},
    "min_stability": {"min_stability": 0.123},
    "stability_replicates": {"stability_replicates": 9},
}


@pytest.mark.parametrize(
    ("function", "place", "read"),
    [
        (cluster_leiden, 1, {"leiden_resolutions"}),
        (resample_leiden, 2, {"leiden_resolutions", "stability_replicates"}),
        (cluster_kmeans, 1, {"kmeans_k", "kmeans_max_k"}),
        (cluster_hierarchical, 3, {"hierarchical_k", "min_stability"}),
        (assemble_clusters, "options", {"min_stability"}),
        (partial(cluster_kmeans, seed=1), 1, {"kmeans_k", "kmeans_max_k"}),
        (partial(cluster_kmeans, None), 0, {"kmeans_k", "kmeans_max_k"}),
    ],
)
def test_one_option_of_the_clusterings_makes_anew_what_reads_it(
    function: Callable[..., Any], place: int | str, read: set[str]
) -> None:
    options = defaults_of(ClusteringOptions)
    before = digest(used_part(function, place, options))
    changed = {
        name
        for name, change in CHANGES.items()
        if digest(used_part(function, place, options.model_copy(update=change))) != before
    }
    assert set(CHANGES) == set(ClusteringOptions.model_fields)
    assert changed == read


def test_what_is_read_at_run_time_is_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields that a run reads are recorded by the options themselves."""
    import numpy as np
    import pandas as pd

    options = defaults_of(ClusteringOptions)
    seen: set[str] = set()

    def record(self: object, name: str) -> Any:
        if self is options and name in ClusteringOptions.model_fields:
            seen.add(f".{name}")
        return object.__getattribute__(self, name)

    monkeypatch.setattr(ClusteringOptions, "__getattribute__", record, raising=False)
    cluster_kmeans(pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2))), options, 0)
    assert seen == {".kmeans_k", ".kmeans_max_k"}


def test_nested_options_count_by_what_is_read_of_them() -> None:
    found = used_part(
        score_imputation, parameter_place(score_imputation, "options"), defaults_of(ImputationOptions)
    )
    assert isinstance(found, dict)
    assert {path for path in found if path.startswith(".score")} == {
        ".score.held_out_share", ".score.max_cells", ".score.n_neighbors",
    }  # fmt: skip
    volcano = used_part(plot_volcano, parameter_place(plot_volcano, "options"), defaults_of(DeOptions))
    assert isinstance(volcano, dict)
    assert set(volcano) == {"", ".fdr", ".delta"}


def parameter_place(function: Callable[..., Any], name: str) -> int:
    code = function.__code__
    return code.co_varnames[: code.co_argcount].index(name)
