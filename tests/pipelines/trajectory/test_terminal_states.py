from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scvi_downstream.pipelines.trajectory.fates import directed_walk
from scvi_downstream.pipelines.trajectory.gpcca import leading_schur
from scvi_downstream.pipelines.trajectory.terminal_states import macrostates

from .conftest import Plant, ReferenceComponents, graph_of, pseudotime_of


def check_states(reference: dict[str, Any], latent: np.ndarray, root: int) -> None:
    graph = graph_of(latent)
    time = pseudotime_of(graph, root)
    ordered = np.isfinite(time)
    walk = directed_walk(graph, ordered, time[ordered])
    schur = leading_schur(walk, 14, seed=0)
    for n_states, expected in reference["states"].items():
        cores, stability = macrostates(walk, *schur, int(n_states))
        if expected is None:
            assert len(cores) < int(n_states)
            continue
        order = sorted(range(len(cores)), key=lambda i: tuple(cores[i]))
        theirs = sorted(range(len(cores)), key=lambda i: expected["cores"][i])
        assert [cores[i].tolist() for i in order] == [expected["cores"][i] for i in theirs]
        np.testing.assert_allclose(stability[order], np.array(expected["stability"])[theirs], atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["bifurcating", "three_way"])
def test_macrostates_of_planted_cells_are_cellranks(
    planted: Plant, cellrank: dict[str, Any], kind: Any
) -> None:
    """CellRank's are of the dense Schur decomposition."""
    cells = planted(kind)
    check_states(cellrank[kind], cells.latent, cells.root_cell)


@pytest.mark.slow
def test_macrostates_of_worm_are_cellranks(
    real_data: Path, reference_components: ReferenceComponents, cellrank: dict[str, Any]
) -> None:
    check_states(cellrank["worm_embryo"], reference_components(real_data / "worm_embryo.h5ad"), 0)
