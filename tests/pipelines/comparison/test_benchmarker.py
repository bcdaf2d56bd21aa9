import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.figure_datasets import MatplotlibDataset
from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.comparison.benchmarker import compare_with_benchmarker, run_benchmarker
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.evaluation.nodes import score_integration
from scvi_downstream.study.defaults import defaults_of

STOCK = defaults_of(ComparisonOptions, profile="stock", n_bootstrap=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_board_has_the_scores_of_the_benchmarker_on_real_cells(pbmc_counts, pbmc_pca, keys, tmp_path):
    _, pca = pbmc_pca
    pca = pca.iloc[
        :, :8
    ]  # as many columns as the other has: the Benchmarker compiles for every number of them
    latents = {"pca": pca, "scvi": pca * np.linspace(2, 1, 8, dtype=np.float32)}
    given = {f"{name}__latent": table for name, table in latents.items()}
    table, figure = run_benchmarker(pbmc_counts, keys, STOCK, 0, **given, failed__latent=pd.DataFrame())
    board = {}
    for name, latent in latents.items():
        graph = neighbors_graph(
            latent.index, latent.to_numpy(), n_neighbors=15, n_search=90, exact_up_to=50_000, seed=0
        )
        scores, _ = score_integration(latent, graph, pbmc_counts, pca, keys, STOCK, 0)
        board[name] = {f"scib_{metric.removeprefix('scib_')}": value for metric, value in scores.items()}
    ours = pd.DataFrame.from_dict(board, orient="index")[list(table)].astype(float)
    assert list(table.index) == ["pca", "scvi"]
    assert set(table) >= {"scib_total", "scib_leiden_nmi", "scib_kbet", "scib_clisi"}
    pd.testing.assert_frame_equal(ours, table, check_names=False, rtol=0, atol=1e-3)
    png = MatplotlibDataset(filepath=str(tmp_path / "benchmarker.png"))
    png.save(figure)
    assert png.load().startswith(b"\x89PNG")


def test_cells_of_one_batch_are_not_given_to_it(pbmc_counts, keys):
    counts = pbmc_counts[pbmc_counts.obs["batch"] == pbmc_counts.obs["batch"].iloc[0]].copy()
    latent = pd.DataFrame(np.zeros((counts.n_obs, 2)), index=counts.obs_names)
    table, figure = run_benchmarker(counts, keys, STOCK, 0, pca__latent=latent)
    assert table.empty
    assert "one batch" in figure.texts[0].get_text()
    assert "was not run" in compare_with_benchmarker(pd.DataFrame(), table)["sentences"][0]


def test_the_largest_difference_is_said():
    board = pd.DataFrame(
        {
            "model": ["scvi", "pca"],
            "scib_total": [0.7, 0.6],
            "scib_kbet": [0.5, np.nan],
            "seconds": [3.0, 1.0],
        }
    )
    theirs = pd.DataFrame({"model": ["pca", "scvi"], "scib_total": [0.6001, 0.699], "scib_kbet": [0.3, 0.5]})
    summary = compare_with_benchmarker(board, theirs)
    assert (summary["model"], summary["metric"]) == ("scvi", "scib_total")
    assert "by 0.001 at most: scib_total of scvi is 0.700 here and 0.699 there." in summary["sentences"][0]


@pytest.mark.parametrize(
    ("profile", "keys", "asked"),
    [
        ("stock", Keys(batch_key="batch", label_key="cell_type"), True),
        ("stock", Keys(batch_key="batch"), False),
        ("full", Keys(batch_key="batch", label_key="cell_type"), False),
    ],
)
def test_it_is_asked_for_by_the_profile_and_needs_labels_and_batches(profile, keys, asked):
    assert defaults_of(ComparisonOptions, profile=profile).asks_benchmarker(keys) == asked
