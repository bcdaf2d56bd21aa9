"""Donors in two conditions with a planted response, and models that know, or miss, the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.pipelines.prediction.comparison import Decoded
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.study.defaults import defaults_of, replicates_of

N_DONORS, N_CELLS, N_GENES, N_RESPONDERS = 6, 30, 120, 12
TYPES = ("A", "B")
KEYS = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type")
OPTIONS = defaults_of(PredictionOptions, n_bootstrap=40, top_genes=20, n_samples=2)


@dataclass(frozen=True)
class Truth:
    """Share of every gene in each type, ``(n_types, n_genes)``, by condition."""

    shares: dict[str, np.ndarray]


def simulate(*, response: float, seed: int = 0, donors: float = 0.1) -> tuple[AnnData, Truth]:
    """``N_CELLS`` cells a donor, condition and type; the first genes rise in both types, more in B."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0, 1, (len(TYPES), N_GENES))
    factor = np.ones((len(TYPES), N_GENES))
    factor[:, :N_RESPONDERS] = np.exp(response * np.array([[0.7], [1.3]]))
    shares = {"ctrl": base, "stim": base * factor}
    shares = {name: values / values.sum(axis=1, keepdims=True) for name, values in shares.items()}
    effects = np.exp(rng.normal(0, donors, (N_DONORS, N_GENES)))
    counts, rows = [], []
    for donor in range(N_DONORS):
        for condition, means in shares.items():
            for kind, name in enumerate(TYPES):
                mean = means[kind] * effects[donor]
                rates = rng.lognormal(6, 0.3, (N_CELLS, 1)) * mean / mean.sum()
                counts.append(rng.poisson(rates * rng.gamma(5, 1 / 5, rates.shape)))
                rows += [{"donor": f"d{donor}", "condition": condition, "cell_type": name}] * N_CELLS
    obs = pd.DataFrame(rows, index=[f"cell{i}" for i in range(len(rows))]).astype("category")
    var = pd.DataFrame({"highly_variable": True}, index=[f"g{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(np.concatenate(counts).astype(np.float32)), obs=obs, var=var), Truth(
        shares
    )


class Knowing:
    """A decoder that gives every cell the true share of its type; ``wrong`` turns the response around."""

    def __init__(self, counts: AnnData, truth: Truth, *, wrong: bool = False) -> None:
        self.types = counts.obs["cell_type"].astype(str)
        self.truth, self.wrong = truth, wrong

    def __call__(self, cells: pd.Index, source: str, target: str) -> Decoded:
        kinds = [TYPES.index(name) for name in self.types[cells]]
        before, after = (self.truth.shares[name][kinds] for name in (source, target))
        if self.wrong:
            after = before**2 / after
            after = after / after.sum(axis=1, keepdims=True)
        draws = partial(np.repeat, repeats=2, axis=0)
        return Decoded(draws(before[None]), draws(after[None]))


@pytest.fixture(scope="session")
def responding() -> tuple[AnnData, Truth]:
    return simulate(response=1.5)


@pytest.fixture(scope="session")
def unresponsive() -> tuple[AnnData, Truth]:
    return simulate(response=0.0)
