from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from kedro.pipeline import Pipeline

from scvi_downstream import pipeline_registry
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.pipelines.copies import model_of
from scvi_downstream.pipelines.declaration import TRIAL
from scvi_downstream.settings import CONFIG_LOADER_ARGS
from scvi_downstream.study.completion import RESERVED
from scvi_downstream.study.loader import StudyConfigLoader
from scvi_downstream.study.plan import plan_study

PROJECT = Path(__file__).resolve().parents[1]


def registered(**runtime: Any) -> dict[str, Pipeline]:
    loader = StudyConfigLoader(
        str(PROJECT / "conf"), env="base", runtime_params=runtime, **CONFIG_LOADER_ARGS
    )
    return pipeline_registry.register_pipelines(plan_study(loader["parameters"]))


def test_without_a_session_pipelines_are_made_when_they_are_looked_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Path] = []
    load = pipeline_registry.load_parameters
    monkeypatch.setattr(
        pipeline_registry, "load_parameters", lambda project, env: read.append(project) or load(project, env)
    )
    found = pipeline_registry.register_pipelines()
    made = registered()
    assert set(found) == set(made)
    assert not read
    for name, pipeline in made.items():
        assert [node.name for node in found[name].nodes] == [node.name for node in pipeline.nodes], name
        assert found[name].all_inputs() == pipeline.all_inputs()
    assert len(read) == 1
    assert {node.name for node in (found["de"] + found["export_hub"]).nodes} == {
        node.name for node in (made["de"] + made["export_hub"]).nodes
    }


def test_one_pipeline_a_capability() -> None:
    assert set(registered()) == {
        "__default__",
        "preparation",
        "training",
        "embedding",
        "clustering",
        "de",
        "imputation",
        "evaluation",
        "comparison",
        "annotation",
        "factors",
        "batch_effects",
        "metadata",
        "reference_mapping",
        "trajectory",
        "samples",
        "proteins",
        "prediction",
        "predictive_checks",
        "sweep",
        "search",
        "cross_validation",
        "stability",
        "export_hub",
        "compare_runs",
        "reporting",
    }


def test_every_trial_of_the_sweep_is_a_namespace() -> None:
    pipelines = registered(sweep={"scvi": {"n_latent": [5, 30]}})
    namespaces = {model_of(node) for node in pipelines["sweep"].nodes} - {""}
    trials = {"scvi_latent5", "scvi_latent30"}
    assert namespaces == trials | {"scvi", "ldvae", "scanvi", "pca", "harmony"}
    assert {model_of(node) for node in pipelines["sweep"].nodes if TRIAL in node.tags} == trials
    assert "scvi_latent5.scores" in pipelines["comparison"].inputs()
    assert trials <= {model_of(node) for node in pipelines["__default__"].nodes}


def test_trials_are_trained_and_scored_and_no_more() -> None:
    sweep = registered(sweep={"scvi": {"n_latent": [5]}})["sweep"]
    made = {name for name in sweep.all_outputs() if name.startswith("scvi_latent5.")}
    assert {"scvi_latent5.fitted", "scvi_latent5.scores"} <= made
    assert not {name for name in made if "umap" in name or name.endswith("_figure")}


def test_a_sweep_needs_nothing_but_the_counts() -> None:
    sweep = registered(sweep={"scvi": {"n_latent": [5]}, "scanvi": {"n_layers": [1]}})["sweep"]
    free = {name for name in sweep.inputs() if not name.startswith("params:") and "checkpoint" not in name}
    assert free == {"raw"}


def test_a_trial_that_is_the_primary_model_is_a_model() -> None:
    pipelines = registered(sweep={"scvi": {"n_latent": [5, 30]}}, primary="scvi_latent30")
    assert "scvi_latent30.umap" in pipelines["__default__"].all_outputs()
    assert "scvi_latent5.umap" not in pipelines["__default__"].all_outputs()


def test_models_depend_on_each_other_only_where_one_starts_from_another() -> None:
    pipelines = registered()
    for model in ("scvi", "ldvae", "scanvi"):
        needed = pipelines["__default__"].filter(node_namespaces=[f"models.{model}"]).inputs()
        others = {name.split(".")[0] for name in needed if "." in name and ":" not in name} - {model, "pca"}
        assert others == ({"scvi"} if model == "scanvi" else set())


def test_downstream_follows_the_primary_model() -> None:
    pipelines = registered(primary="scanvi")
    assert "scanvi.fitted" in pipelines["de"].inputs()
    assert "scanvi.latent" in pipelines["reporting"].inputs()


def test_without_labels_and_batches_nothing_needs_them() -> None:
    pipelines = registered(batch_key="", label_key="")
    names = {model_of(node) for node in pipelines["__default__"].nodes} - {""}
    assert names == {"scvi", "ldvae", "pca"}


def test_a_counterfactual_is_decoded_only_when_asked_for() -> None:
    assert "expression_counterfactual" not in registered()["__default__"].all_outputs()
    asked = registered(imputation={"transform_batch": ["1"]})
    assert "expression_counterfactual" in asked["__default__"].all_outputs()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("runtime", "made"),
    [
        ({"marker_table": "markers.csv"}, "cluster_names"),
        ({"reference": "data/06_models/plates/scvi/fitted"}, "mapped"),
        ({"metadata": "samples.csv"}, "metadata_genes"),
        ({"condition_key": "stimulus"}, "composition_tests"),
        ({"metadata_analysis": {"columns": ["phase"]}}, "metadata_associations"),
    ],
)
def test_an_analysis_runs_when_what_it_needs_is_given(runtime: dict[str, Any], made: str) -> None:
    assert made not in registered()["__default__"].all_outputs()
    assert made in registered(**runtime)["__default__"].all_outputs()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("key", "left_out"), [("batch_key", "batch_effects"), ("label_key", "annotation_scores")]
)
def test_an_analysis_is_left_out_without_its_key(key: str, left_out: str) -> None:
    assert left_out in registered()["__default__"].all_outputs()
    assert left_out not in registered(**{key: ""})["__default__"].all_outputs()


def test_every_dataset_has_an_entry_in_the_catalogue(catalogue_entry) -> None:
    in_memory = {"parameters"}
    for name in set().union(*(pipeline.datasets() for pipeline in registered().values())) - in_memory:
        assert name.startswith("params:") or catalogue_entry(name), name


def test_nodes_agree_on_the_type_of_a_parameter() -> None:
    """Kedro makes every parameter an object of the type that one of its nodes names, and refuses what does not fit."""
    samples = {"metadata": "samples.csv", "sample_key": "donor", "condition_key": "stimulus"}
    types: dict[str, set[Any]] = {}
    for node in registered(**samples)["__default__"].nodes:
        function = node.func.func if isinstance(node.func, partial) else node.func
        names = list(inspect.signature(node.func).parameters)
        given = (
            node._inputs if isinstance(node._inputs, dict) else dict(zip(names, node.inputs, strict=False))
        )
        hints = get_type_hints(function)
        for argument, name in given.items():
            if name.startswith("params:") and inspect.isclass(hints.get(argument)):
                types.setdefault(name, set()).add(hints[argument])
    assert types["params:replicates"] == {Replicates}
    assert not {name: kinds for name, kinds in types.items() if len(kinds) > 1}


def test_every_node_carries_the_name_of_its_pipeline() -> None:
    for name, pipeline in registered().items():
        if name != "__default__":
            brings_along = name in {"sweep", "search", "stability", "cross_validation", "reference_mapping"}
            own = {
                node for node in pipeline.nodes if {name, "hub" if name == "export_hub" else name} & node.tags
            }
            assert brings_along or own == set(pipeline.nodes), name
            assert all(node.tags for node in pipeline.nodes), name


def test_no_model_may_be_called_like_another_argument_of_a_node_that_takes_all_models() -> None:
    pipelines = registered(trajectory={"time_key": "age"}, stability={"models": ["scvi"]})
    everything = sum(pipelines.values(), Pipeline([]))
    taken: set[str] = set()
    for node in everything.nodes:
        keywords = node._inputs if isinstance(node._inputs, dict) else {}
        if any(str(keywords.get(name)).startswith(f"{name}.") for name in ("scvi", "pca")):
            parameters = inspect.signature(node.func).parameters.values()
            taken |= {
                parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD
            }
    assert {"counts", "keys", "options", "seed"} <= taken
    assert taken <= set(RESERVED)
