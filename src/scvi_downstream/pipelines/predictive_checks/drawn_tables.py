"""Small tables for the figures: PIT histograms, cells, and correlations of pairs of genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .evidence import Evidence
from .ranks import N_BINS, STRATA


def calibration_table(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """Share of counts in each of 40 bins of the PIT: ``source, cells, genes, low, high, share, n``."""
    tables = []
    for each in evidence:
        counted = np.concatenate(each.ranks.histograms).sum(axis=0)
        for stratum, row in zip(STRATA, counted, strict=True):
            if row.sum() == 0:
                continue
            edges = np.arange(N_BINS + 1) / N_BINS
            tables.append(
                pd.DataFrame(
                    {
                        "source": each.source,
                        "cells": each.cells,
                        "genes": stratum,
                        "low": edges[:-1],
                        "high": edges[1:],
                        "share": row / row.sum(),
                        "n": row,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def cell_table(evidence: Sequence[Evidence], names: dict[str, pd.Index]) -> pd.DataFrame:
    """Counts and share of zeros of each cell, observed and generated with the central 95 % of the draws.

    Parameters
    ----------
    evidence
        Of all sources.
    names
        Names of the ``held-out`` and the ``training`` cells.
    """
    tables = []
    for each in evidence:
        values = {"counts": each.totals, "zero_fraction": each.cell_zeros / len(each.genes.center)}
        columns: dict[str, np.ndarray] = {}
        for name, drawn in values.items():
            lower, upper = np.quantile(drawn[1:], (0.025, 0.975), axis=0)
            columns |= {
                f"{name}_observed": drawn[0],
                f"{name}_predicted": drawn[1:].mean(axis=0),
                f"{name}_lower": lower,
                f"{name}_upper": upper,
            }
        tables.append(
            pd.DataFrame(
                {"cell": names[each.cells].astype(str), "source": each.source, "cells": each.cells, **columns}
            )
        )
    return pd.concat(tables, ignore_index=True)


def correlation_table(evidence: Sequence[Evidence], genes: pd.Index, cells: str = "held-out") -> pd.DataFrame:
    """Correlation of each pair of genes: ``gene_a, gene_b, observed``, and the mean of the draws of each source."""
    chosen = [each for each in evidence if each.cells == cells]
    first, second = np.triu_indices(len(chosen[0].correlations.genes), 1)
    names = genes[chosen[0].correlations.genes].astype(str)
    columns = {each.source: each.correlations.pairs() for each in chosen}
    observed = next(iter(columns.values()))[0]
    return pd.DataFrame(
        {"gene_a": names[first], "gene_b": names[second], "observed": observed}
        | {source: pairs[1:].mean(axis=0) for source, pairs in columns.items()}
    ).astype({"gene_a": "category", "gene_b": "category"})
