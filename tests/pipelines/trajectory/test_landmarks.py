from __future__ import annotations

import pandas as pd
import pytest

from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.trajectory.components import chosen_clusters, communities_like
from scvi_downstream.runtime.errors import InputError


def test_about_as_many_communities_as_wanted(planted) -> None:
    cells = planted("three_way")
    graph = neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=15, exact_up_to=10_000, seed=0
    )
    for wanted in (3, 8):
        found = communities_like(graph, wanted, 0)
        assert abs(found.nunique() - wanted) <= 2
        assert found.index.name == "cell"
        assert found.value_counts().index[0] == "0"


def test_a_clustering_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"'leidn'.*closest is 'leiden'"):
        chosen_clusters(pd.DataFrame({"leiden": ["0"]}), "leidn")
