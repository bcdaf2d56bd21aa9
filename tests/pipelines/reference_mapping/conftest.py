"""A reference without a trained model: what nodes around it need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse


@dataclass
class StandInModel:
    """The read-only side of a saved model."""

    genes: pd.Index
    setup: dict[str, Any]
    fields: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    family: str = "SCVI"
    save_dir: Path = Path("atlas")

    @property
    def contents(self) -> SimpleNamespace:
        return SimpleNamespace(attributes={"registry_": {"field_registries": self.fields}})


def categories(*names: Any) -> dict[str, Any]:
    return {"state_registry": {"categorical_mapping": np.array(names, dtype=object)}}


@pytest.fixture
def reference() -> Any:
    from scvi_downstream.models.saved import Reference

    rng = np.random.default_rng(0)
    counts = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(2, (40, 12)).astype(np.float32)),
        obs=pd.DataFrame(
            {"plate": ["x", "y"] * 20, "line": pd.Categorical(["B", "T", "unknown", "T"] * 10)},
            index=[f"c{i}" for i in range(40)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(12)]),
    )
    model = StandInModel(
        genes=pd.Index([f"g{i}" for i in (7, 3, 5, 1)], name="gene"),
        setup={"batch_key": "plate"},
        fields={"batch": categories("x", "y")},
    )
    return Reference(model=model, counts=counts, name="atlas")


@pytest.fixture
def counts() -> anndata.AnnData:
    rng = np.random.default_rng(1)
    return anndata.AnnData(
        sparse.csr_matrix(rng.poisson(2, (10, 6)).astype(np.float32)),
        obs=pd.DataFrame(
            {"donor": ["d1", "d2"] * 5, "plate": ["x", "z"] * 5, "age": np.arange(10.0)},
            index=[f"q{i}" for i in range(10)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(1, 7)]),
    )
