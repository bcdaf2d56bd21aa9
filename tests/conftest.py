"""What many tests share: the demonstration's cells, prepared once, and a briefly fitted model."""

from __future__ import annotations

import gc
import os

os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = (
    "true"  # of scib-metrics: compiling takes longer than what is compiled
)

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import settings

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.study.defaults import defaults_of, model_options

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel

PROJECT = Path(__file__).resolve().parents[1]
# The first example of a test may import scikit-learn; the same examples every time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
gc.set_threshold(200_000, 20, 20)  # collections take a tenth of the tests


# Share one run of the study, so they run in one process.
STUDY_TESTS = ("test_study_run", "test_documented_commands", "test_new_analysis", "test_notebook", "test_viz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs whole studies begins first: a process that has it last makes the others wait."""
    items.sort(key=lambda item: "/end_to_end/" not in str(item.path).replace("\\", "/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files side by side, in the order of the collection."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return (
                "study"
                if any(f"/{name}.py" in nodeid for name in STUDY_TESTS)
                else super()._split_scope(nodeid)
            )

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def keys() -> Keys:
    """Keys of the demonstration."""
    return Keys(batch_key="batch", label_key="cell_type")


@pytest.fixture(scope="session")
def pbmc_counts(keys: Keys) -> AnnData:
    """700 PBMCs × 765 genes as the preparation pipeline hands them on."""
    from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    counts, _, _ = prepare_counts(
        CountsInputDataset(source="pbmc68k").load(),
        None,
        keys,
        defaults_of(PreparationOptions, n_top_genes=300),
    )
    return counts


@pytest.fixture(scope="session")
def pbmc_pca(pbmc_counts: AnnData) -> tuple[AnnData, pd.DataFrame]:
    """The same cells log-normalised, and their first 20 principal components."""
    import scanpy as sc

    cells = pbmc_counts.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=20)
    return cells, pd.DataFrame(cells.obsm["X_pca"].astype("float32"), index=cells.obs_names)


@pytest.fixture(scope="session")
def fitted_scvi(pbmc_counts: AnnData, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    """A scVI model fitted for a few epochs and saved by the dataset."""
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    folder = tmp_path_factory.mktemp("fitted")
    spec = model_options(
        {"name": "scvi", "family": "SCVI", "n_latent": 5, "n_hidden": 32, "training": {"max_epochs": 15}}
    )
    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    model, _, _ = train_model(pbmc_counts, spec, keys, 0, "cpu", store)
    dataset = ScviModelDataset(filepath=str(folder / "scvi"))
    dataset.save(model)
    return dataset.load()


def project_catalogue(**parameters: Any) -> dict[str, Any]:
    """Entries and patterns of the project's catalogue, for parameters such as ``data_root`` and ``study``."""
    from scvi_downstream.study.loader import CONFIG_LOADER_ARGS, StudyConfigLoader

    loader = StudyConfigLoader(
        str(PROJECT / "conf"), env="base", runtime_params=parameters, **CONFIG_LOADER_ARGS
    )
    return loader["catalog"]


@pytest.fixture(scope="session")
def catalogue() -> Callable[..., dict[str, Any]]:
    """:func:`project_catalogue`."""
    return project_catalogue


@pytest.fixture(scope="session")
def catalogue_entry() -> Callable[[str], dict[str, Any]]:
    """The catalogue's entry of a dataset, its patterns filled in; empty where it is kept in memory."""
    from kedro.io import CatalogConfigResolver

    resolver = CatalogConfigResolver(project_catalogue())
    return lambda name: resolver.config.get(name) or resolver.resolve_pattern(name)
