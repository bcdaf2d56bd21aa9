"""The outputs of a whole run: complete, in agreement, and equal to scvi-tools by hand."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from kedro.io import DataCatalog

pytestmark = pytest.mark.slow
MODELS = ("scvi", "ldvae", "scanvi")
EMBEDDINGS = (*MODELS, "pca", "harmony")


def test_final_files_are_where_the_guide_says(study_run: Any) -> None:
    for layer, names in {
        "07_model_output": [
            "analysed.h5ad",
            "de_results.parquet",
            "markers.csv",
            "expression.zarr",
            "cell_types.parquet",
            "factors.parquet",
            "factor_associations.csv",
            "batch_effects.csv",
        ],
        "08_reporting": ["report.html", "leaderboard.csv", "methods.md", "references.bib"],
        "06_models": [f"{model}/fitted/model.pt" for model in MODELS],
    }.items():
        for name in names:
            assert (study_run.folder(layer) / name).exists(), name


def test_every_registered_output_was_written(catalog: DataCatalog, study_run: Any) -> None:
    from kedro.framework.project import pipelines

    kept = [name for name in pipelines["__default__"].all_outputs() if not name.endswith("_gathered")]
    missing = [name for name in kept if not catalog[name].exists()]
    assert not missing


def test_no_temporary_files_are_left(study_run: Any) -> None:
    assert not list(study_run.data_root.rglob(".*"))


def test_the_summary_says_where_the_results_are_and_what_next(study_run: Any) -> None:
    assert "Study 'test' is done" in study_run.output
    assert "report.html" in study_run.output
    assert "make ui" in study_run.output
    found = re.findall(r"^  (holds|uncertain|does not hold) +([A-Z][\w -]+): (.+)$", study_run.output, re.M)
    assert {"Clusters", "Cell types", "Batch effects", "Comparison"} <= {title for _, title, _ in found}
    assert max(len(text) for *_, text in found) <= 120
    assert "Traceback" not in study_run.output


def test_cell_names_agree_everywhere(catalog: DataCatalog) -> None:
    cells = catalog.load("counts").obs_names
    for embedding in EMBEDDINGS:
        for table in ("latent", "umap"):
            assert catalog.load(f"{embedding}.{table}").index.equals(cells), f"{embedding}.{table}"
        assert catalog.load(f"{embedding}.neighbors").cells.equals(cells)
    for model in MODELS:
        assert catalog.load(f"{model}.clusters").index.equals(cells)
    assert catalog.load("expression").cells.equals(cells)
    assert catalog.load("analysed").obs_names.equals(cells)


def test_analysed_holds_what_people_look_for(catalog: DataCatalog) -> None:
    analysed = catalog.load("analysed")
    assert {"X_scVI", "X_LDVAE", "X_scANVI", "X_pca", "X_harmony", "X_umap", "X_umap_3d"} <= set(
        analysed.obsm
    )
    assert {"leiden", "kmeans", "hierarchical", "batch", "cell_type"} <= set(analysed.obs)
    assert {"cell_type_predicted", "cell_type_probability"} <= set(analysed.obs)
    assert "ldvae_loadings" in analysed.varm
    assert np.array_equal(analysed.X.data, catalog.load("counts").X.data)


def test_latent_is_that_of_scvi_tools_by_hand(catalog: DataCatalog, study_run: Any) -> None:
    import scvi

    counts = catalog.load("counts")
    folder = study_run.folder("06_models")
    for model, family in zip(MODELS, ("SCVI", "LinearSCVI", "SCANVI"), strict=True):
        genes = counts[:, counts.var["highly_variable"]].copy()
        by_hand = getattr(scvi.model, family).load(
            str(folder / model / "fitted"), adata=genes, accelerator="cpu"
        )
        np.testing.assert_array_equal(
            catalog.load(f"{model}.latent").to_numpy(), by_hand.get_latent_representation()
        )


def test_leaderboard_has_a_row_a_model_and_baseline(catalog: DataCatalog) -> None:
    leaderboard = catalog.load("leaderboard").set_index("model")
    assert set(leaderboard.index) == set(EMBEDDINGS)
    assert leaderboard["scib_total"].between(0, 1).all()
    assert leaderboard.loc[list(MODELS), "elbo_test"].notna().all()
    assert leaderboard["seconds"].gt(0).all()
    assert leaderboard.loc[list(MODELS), "peak_memory_mb"].gt(0).all()


def test_champion_is_a_model_and_says_why(catalog: DataCatalog) -> None:
    champion = catalog.load("champion")
    assert champion["model"] in MODELS
    assert champion["model"] in champion["reason"]


def test_de_results_have_all_three_views(catalog: DataCatalog) -> None:
    results = catalog.load("de_results")
    assert set(results["grouping"]) == {"clusters", "labels"}
    assert results["proba_de"].between(0, 1).all()
    assert (results["lfc_lower"] <= results["lfc_upper"]).all()
    assert results["wilcoxon_p_adjusted"].between(0, 1).all()
    assert results["pseudobulk_p"].isna().all()
    assert not results.duplicated(["grouping", "comparison", "gene"]).any()


def test_report_is_one_page_without_the_network(study_run: Any) -> None:
    page = (study_run.folder("08_reporting") / "report.html").read_text()
    assert page.count("data:image/png;base64") > 10
    assert len(page) < 6_000_000
    files = set(re.findall(r'<a href="([^"]+)" download', page))
    assert len(files) > 60
    assert [file for file in files if not (study_run.folder("08_reporting") / file).is_file()] == []
    assert 'src="http' not in page
    assert '<link rel="stylesheet"' not in page


def test_tracking_has_a_parent_and_a_closed_child_a_model(study_run: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=study_run.tracking_uri)
    experiment = client.get_experiment_by_name("test")
    runs = client.search_runs([experiment.experiment_id], "tags.`kedro.env` = 'test'")
    parents = [
        run
        for run in runs
        if "mlflow.parentRunId" not in run.data.tags and "kedro.pipeline_names" not in run.data.tags
    ]
    first = min(parents, key=lambda run: run.info.start_time)
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == first.info.run_id]
    assert {run.info.run_name for run in children} == set(EMBEDDINGS)
    assert {run.info.status for run in (first, *children)} == {"FINISHED"}
    by_name = {run.info.run_name: run for run in children}
    for model in MODELS:
        run = by_name[model]
        assert run.data.params["family"]
        assert np.isfinite(run.data.metrics["elbo_test"])
        curve = client.get_metric_history(run.info.run_id, "curves/elbo_validation")
        assert [point.step for point in curve] == [1, 2, 3, 4]
        assert client.list_artifacts(run.info.run_id, "figures")
    shared = [{name for name in by_name[model].data.metrics if "/" not in name} for model in MODELS]
    assert shared[0] == shared[1] == shared[2]
    assert {artifact.path for artifact in client.list_artifacts(first.info.run_id)} >= {"report.html"}
    assert {artifact.path for artifact in client.list_artifacts(first.info.run_id, "reports")} >= {
        "reports/leaderboard.csv"
    }
    assert "| scanvi&nbsp; |" in first.data.tags["mlflow.note.content"]
    assert first.inputs.dataset_inputs[0].dataset.digest


def test_champion_is_registered_and_embeds_cells(
    study_run: Any, catalog: DataCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from scvi_downstream.tracking.registry import load_champion

    version = MlflowClient(tracking_uri=study_run.tracking_uri).get_model_version_by_alias("test", "champion")
    champion = catalog.load("champion")
    assert champion["reason"] in version.description
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study_run.tracking_uri)
    latent = load_champion("models:/test@champion").embed(catalog.load("counts"))
    expected = catalog.load(f"{champion['model']}.latent")
    np.testing.assert_allclose(latent.loc[expected.index].to_numpy(), expected.to_numpy(), atol=1e-5)


def test_a_second_run_is_a_new_parent(study_run: Any, run_part: Callable[..., Any]) -> None:
    from mlflow import MlflowClient

    def parents() -> int:
        client = MlflowClient(tracking_uri=study_run.tracking_uri)
        runs = client.search_runs([client.get_experiment_by_name("test").experiment_id])
        return sum("mlflow.parentRunId" not in run.data.tags for run in runs)

    before = parents()
    run_part(pipeline_names=["comparison"])
    assert parents() == before + 1


@pytest.mark.parametrize(
    "pipeline",
    [
        "preparation",
        "embedding",
        "clustering",
        "annotation",
        "de",
        "factors",
        "batch_effects",
        "imputation",
        "evaluation",
        "comparison",
        "reporting",
    ],
)
def test_each_pipeline_runs_alone_on_earlier_outputs(run_part: Callable[..., Any], pipeline: str) -> None:
    selection = (
        {"node_names": [f"{BOXES.get(pipeline, pipeline)}.{name}" for name in _few_nodes(pipeline)]}
        if pipeline in {"embedding", "evaluation", "clustering", "de", "annotation", "batch_effects"}
        else {}
    )
    run_part(pipeline_names=[pipeline], **selection)


BOXES = dict.fromkeys(("embedding", "clustering", "evaluation"), "models")


def _few_nodes(pipeline: str) -> list[str]:
    return {
        "embedding": ["scvi.compute_latent", "scvi.plot_embedding"],
        "clustering": ["scvi.cluster_leiden", "scvi.plot_clusters"],
        "de": ["combine_results", "select_markers", "plot_dotplot"],
        "evaluation": ["scvi.evaluate_likelihood"],
        "annotation": ["agree_on_cell_types", "plot_confusion"],
        "batch_effects": ["summarize_batch_effects", "plot_batch_effects"],
    }[pipeline]


def test_namespaces_and_tags_select_as_in_any_kedro_project(
    study_run: Any, run_part: Callable[..., Any]
) -> None:
    figure = study_run.folder("08_reporting") / "pca" / "embedding.png"
    latent = study_run.folder("07_model_output") / "scvi" / "latent.parquet"
    before = figure.stat().st_mtime_ns, latent.stat().st_mtime_ns
    run_part(namespaces=["models.pca"], tags=["embedding"])
    after = figure.stat().st_mtime_ns, latent.stat().st_mtime_ns
    assert after[0] > before[0]
    assert after[1] == before[1]


def test_same_seed_gives_the_same_table_again(catalog: DataCatalog, run_part: Callable[..., Any]) -> None:
    before = {name: catalog.load(name) for name in ("pca.umap", "scvi.leiden", "scvi.kmeans")}
    steps = ("pca.compute_umap", "scvi.cluster_leiden", "scvi.cluster_kmeans")
    run_part(node_names=[f"models.{step}" for step in steps])
    for name, table in before.items():
        pd.testing.assert_frame_equal(catalog.load(name), table)


def test_a_failing_node_closes_its_runs_as_failed(
    study_run: Any, run_part: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from scvi_downstream.runtime.errors import InputError

    with pytest.raises(InputError, match="no_such_column"):
        run_part({"embedding": {"color_by": ["no_such_column"]}}, node_names=["models.scvi.plot_embedding"])
    client = MlflowClient(tracking_uri=study_run.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("test").experiment_id], max_results=2)
    assert {run.info.status for run in runs} == {"FAILED"}
    assert any("no_such_column" in run.data.tags.get("error", "") for run in runs)


def test_summaries_speak_in_the_report_and_in_mlflow(catalog: DataCatalog, study_run: Any) -> None:
    from mlflow import MlflowClient

    page = (study_run.folder("08_reporting") / "report.html").read_text()
    for name in ("annotation_scores", "factor_summary", "batch_summary"):
        first = catalog.load(name)["sentences"][0]
        assert html.escape(first[1:60], quote=True).replace("&#x27;", "&#39;") in page, name
    client = MlflowClient(tracking_uri=study_run.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    first_run = min(runs, key=lambda run: run.info.start_time)
    assert {"annotation", "batch", "factors"} <= {name.split(".")[0] for name in first_run.data.metrics}


def test_preparation_summary_says_what_came_in(catalog: DataCatalog, study_run: Any) -> None:
    summary = json.loads((study_run.folder("03_primary") / "preparation_summary.json").read_text())
    assert (summary["n_cells"], summary["n_genes"]) == (700, 765)
    assert len(summary["data_fingerprint"]) == 64
    assert summary["batches"]["1"] > 0
    assert Path(catalog["counts"]._filepath).is_file()
