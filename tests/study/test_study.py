from pathlib import Path
from typing import Any

import pytest

from scvi_downstream.pipeline_registry import register_pipelines
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.settings import CONFIG_LOADER_ARGS
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters
from scvi_downstream.study.loader import StudyConfigLoader, load_parameters
from scvi_downstream.study.plan import plan_study

PROJECT = Path(__file__).resolve().parents[2]


def load(**runtime: Any) -> dict[str, Any]:
    return StudyConfigLoader(str(PROJECT / "conf"), env="base", runtime_params=runtime, **CONFIG_LOADER_ARGS)[
        "parameters"
    ]


def test_demo_brings_its_own_keys() -> None:
    assert load()["keys"]["batch_key"] == "batch"
    assert load()["keys"]["label_key"] == "cell_type"


def test_other_data_gets_no_silent_keys() -> None:
    keys = load(input="cells.h5ad")["keys"]
    assert keys["batch_key"] is None
    assert keys["label_key"] is None


def test_empty_text_takes_a_demo_key_away_and_means_no_blocks() -> None:
    assert load(batch_key="")["keys"]["batch_key"] is None
    assert load()["replicates"]["block_key"] is None
    assert load(block_key="")["replicates"]["block_key"] == ""


def test_sweep_expands_to_named_models_with_their_own_options() -> None:
    models = load(sweep={"scvi": {"n_latent": [5, 30], "dropout_rate": [0.1, 0.2]}})["models"]
    assert list(models)[:5] == [
        "scvi",
        "scvi_latent5_dropoutrate0p1",
        "scvi_latent5_dropoutrate0p2",
        "scvi_latent30_dropoutrate0p1",
        "scvi_latent30_dropoutrate0p2",
    ]
    assert models["scvi_latent30_dropoutrate0p2"]["n_latent"] == 30
    assert models["scvi_latent30_dropoutrate0p2"]["dropout_rate"] == 0.2
    assert models["scvi"]["n_latent"] == 10


def test_null_leaves_a_model_out() -> None:
    assert set(load()["models"]) - set(load(models={"ldvae": None})["models"]) == {"ldvae"}
    with pytest.raises(InputError, match="primary 'scvi' is not among models"):
        load(models={"scvi": None, "scanvi": None})


def test_a_model_overrides_the_shared_training() -> None:
    models = load(models={"scvi": {"training": {"lr": 0.01}}}, training={"max_epochs": 7})["models"]
    assert models["scvi"]["training"]["lr"] == 0.01
    assert models["scvi"]["training"]["max_epochs"] == 7
    assert models["scanvi"]["training"]["lr"] == load()["models"]["scanvi"]["training"]["lr"] != 0.01


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({"batchkey": "donor"}, "parameter batchkey is not an option; the closest is 'batch_key'"),
        (
            {"clustering": {"kmeans_maxk": 3}},
            "clustering.kmeans_maxk is not an option; the closest is 'kmeans_max_k'",
        ),
        ({"seed": "abc"}, "parameter seed: "),
        ({"study": "../elsewhere"}, "parameter study: "),
        (
            {"models": {"scvi": {"n_latnt": 3}}},
            "models.scvi.n_latnt is not an option; the closest is 'n_latent'",
        ),
        ({"models": {"scvi": {"family": "SCVII"}}}, "family 'SCVII' is unknown; the closest is 'SCVI'"),
        ({"models": {"mine": {"n_latent": 3}}}, "models.mine has no family"),
        ({"models": {"pca": {"family": "SCVI"}}}, "models.pca: use letters"),
        ({"models": {"R": {"family": "SCVI"}}}, "models.R: use letters"),
        ({"models": {"scvi": {"n_latent": "ten"}}}, "models.scvi.n_latent: "),
        ({"training": {"train_size": 0.95}}, "train_size + validation_size"),
        ({"primary": "scvy"}, "primary 'scvy' is not among models; the closest is 'scvi'"),
        ({"sweep": {"scvi": {"n_latent": []}}}, "sweep.scvi.n_latent is an empty list"),
        ({"sweep": {"scvi": {"n_latnt": [3]}}}, "n_latnt is not an option; the closest is 'n_latent'"),
        ({"sweep": {"scvi": {"n_latent": [3, 3]}}}, "names a value twice"),
        ({"sweep": {"nothing": {"n_latent": [3]}}}, "sweep.nothing: no such model"),
        ({"models": {"scanvi": {"init_from": "scvy"}}}, "init_from 'scvy' is not a model of the study"),
        (
            {"models": {"scanvi": {"init_from": "ldvae"}}},
            "SCANVI can start from SCVI, but 'ldvae' is LinearSCVI",
        ),
        ({"models": {"scanvi": {"n_hidden": 7}}}, "takes its sizes from 'scvi', where it is 128"),
        ({"models": {"scvi": {"init_from": "ldvae"}}}, "SCVI can start from no family"),
    ],
)
def test_wrong_parameters_are_refused_with_what_to_do(runtime: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load(**runtime)
    assert message in str(error.value)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("source", "study"),
    [
        ("cite.h5mu", "cite"),
        ("pbmc68k", "pbmc68k"),
        ("/somewhere/my cells.h5ad", "my_cells"),
        ("runs/filtered_feature_bc_matrix/", "filtered_feature_bc_matrix"),
        ("counts.v2.zarr", "counts.v2"),
    ],
)
def test_a_study_without_a_name_is_called_after_its_input(source: str, study: str) -> None:
    assert load(input=source)["study"] == study
    assert load(input=source, study="mine")["study"] == "mine"


def test_columns_can_be_listed_on_the_command_line() -> None:
    assert load(metadata_analysis={"columns": "age;sex"})["metadata_analysis"]["columns"] == ["age", "sex"]
    assert load(continuous_covariates="percent_mito")["continuous_covariates"] == ["percent_mito"]


def test_unknown_environment_is_named() -> None:
    with pytest.raises(InputError, match="no environment 'nowhere'"):
        load_parameters(PROJECT / "conf", "nowhere")


def test_models_that_need_labels_are_left_out_and_said() -> None:
    graph = plan_study(load(label_key="", batch_key=""))
    assert list(graph.models) == ["scvi", "ldvae"]
    assert graph.left_out["scanvi"] == "SCANVI needs label_key, which is empty"
    assert graph.left_out["harmony"] == "Harmony needs batch_key, which is empty"


def test_a_model_that_starts_from_one_left_out_is_left_out() -> None:
    parameters = load(label_key="", models={"scvi": {"training": {"lr": 0.01}}})
    parameters["models"]["scvi_more"] = {**parameters["models"]["scanvi"], "name": "scvi_more"}
    assert "scvi_more" in plan_study(parameters).left_out


@pytest.mark.thorough
def test_without_r_its_order_alone_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(**options: Any) -> tuple[dict[str, str], set[str]]:
        study = plan_study(load(trajectory={"start_cluster": "CD34+", **options}))
        return dict(study.left_out), register_pipelines(study)["__default__"].all_outputs()

    rscript = tmp_path / "Rscript"
    monkeypatch.setenv("PATH", str(tmp_path))
    left_out, made = planned(monocle_r=True)
    assert left_out[MONOCLE_R].startswith("Rscript is not on the PATH; install R")
    assert "monocle_r" not in made
    assert {"trajectory", "trajectory_summary", "report"} <= made
    rscript.write_text(f"#!/bin/sh\n: > {tmp_path}/asked\n")
    rscript.chmod(0o755)
    assert not planned(monocle_r=False)[0].keys() & {MONOCLE_R}
    assert not planned(monocle_r=True, start_cluster="")[0].keys() & {MONOCLE_R}
    assert not (tmp_path / "asked").exists()
    left_out, made = planned(monocle_r=True)
    assert MONOCLE_R not in left_out
    assert {"monocle_r", "monocle_r_versions"} <= made
    assert (tmp_path / "asked").exists()


def test_a_primary_model_that_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="primary 'scanvi' cannot be fitted: SCANVI needs label_key"):
        plan_study(load(label_key="", primary="scanvi"))


def test_completing_twice_changes_nothing() -> None:
    once = load()
    assert complete_parameters(
        default_parameters({name: once[name] for name in once if name != "sweep"})
    ) == {
        **once,
        "sweep": {},
    }
