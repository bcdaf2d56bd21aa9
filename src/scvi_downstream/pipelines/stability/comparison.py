"""All that is compared between fits of one model, and its summary."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import StabilityOptions

from .clusterings import clustering_rows, recurrence_rows
from .fits import SeedFit
from .genes import expected_in_all, gene_rows, has_lists
from .geometry import geometry_rows
from .pairs import mean_over_pairs
from .rows import Row
from .sentences import describe, failures

AGREEMENT_COLUMNS = ("measure", "fit_a", "fit_b", "group", "kind", "value", "chance")


def agreement_of_fits(fits: list[SeedFit], options: StabilityOptions, seed: int) -> pd.DataFrame:
    """Every agreement between two fits, and within one (Leiden again, other posterior draws).

    Returns
    -------
    One row a measure, pair and group; ``kind`` is ``between`` or ``within`` fits.
    """
    rows = [
        *clustering_rows(fits),
        *recurrence_rows(fits),
        *geometry_rows(fits, options.n_neighbors, seed),
        *(gene_rows(fits, options.top_genes) if has_lists(fits) else []),
    ]
    table = pd.DataFrame(rows, columns=list(Row._fields))
    kind = np.where(table["fit_a"] == table["fit_b"], "within", "between")
    return table.assign(kind=kind)[list(AGREEMENT_COLUMNS)]


def summary_of_fits(
    model: str,
    fits: list[SeedFit],
    failed: dict[str, str],
    scores: pd.DataFrame,
    agreement: pd.DataFrame,
    genes: pd.DataFrame,
    size: int,
) -> dict[str, Any]:
    """Means with intervals, and sentences.

    Parameters
    ----------
    model
        Name of the model.
    fits, failed
        Fits, and why others are missing.
    scores, agreement, genes
        Tables of what is compared.
    size
        Length of a full list of genes.

    Returns
    -------
    ``model``, ``n_fits``, ``fits``, ``failed``; ``agreement``: measure → mean over pairs of fits with interval,
    ``within`` (mean within fits) and ``chance``; ``genes``: group → ``in_all``, ``size``, ``by_chance``;
    ``clusters``: cluster → mean Jaccard index; ``scores``: metric → ``mean``, ``sd``, ``cell_sd``,
    ``least_difference``; ``sentences``.
    """
    record = {"model": model, "n_fits": len(fits), "fits": [fit.name for fit in fits], "failed": failed}
    if len(fits) < 2:
        alone = f"Nothing can be said of seeds for {model}: {len(fits)} of {len(fits) + len(failed)} fits are there."
        return record | {"sentences": [alone, *failures(failed)]}
    measures = {str(name): _measure(table) for name, table in agreement.groupby("measure", sort=False)}
    in_all = _in_all(fits, genes, agreement, size)
    recurring = agreement[(agreement["measure"] == "cluster_jaccard") & (agreement["kind"] == "between")]
    recurrence = recurring.groupby("group", sort=False)["value"].mean()
    kept = ["mean", "sd", "cell_sd", "least_difference"]
    return record | {
        "agreement": measures,
        "genes": in_all,
        "clusters": recurrence.to_dict(),
        "scores": scores.set_index("metric")[kept].to_dict(orient="index"),
        "sentences": describe(model, measures, scores, in_all, recurrence, failed),
    }


def _measure(table: pd.DataFrame) -> dict[str, Any]:
    """Means of one measure, of groups first where it has groups."""
    between, within = (table[table["kind"] == kind] for kind in ("between", "within"))
    by_pair = between.groupby(["fit_a", "fit_b"], sort=False)[["value", "chance"]].mean().reset_index()
    if (
        table["measure"] == "cluster_jaccard"
    ).all():  # all pairs hold the first fit: they are no sample of pairs
        return {
            "mean": float(by_pair["value"].mean()),
            "least": float(by_pair["value"].min()),
            "most": float(by_pair["value"].max()),
            "within": _mean(within["value"]),
            "n_fits": len(by_pair) + 1,
        }
    return dataclasses.asdict(mean_over_pairs(by_pair)) | {
        "within": _mean(within["value"]),
        "chance": _mean(by_pair["chance"]),
    }


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if values.notna().any() else None


def _in_all(
    fits: list[SeedFit], genes: pd.DataFrame, agreement: pd.DataFrame, size: int
) -> dict[str, dict[str, Any]]:
    """Of each group, how many genes are in the lists of all fits, and how many would be by chance."""
    if not has_lists(fits):
        return {}
    first = fits[0].markers
    lengths = first[first["draw"] == 0].groupby("group")["gene"].size()
    candidates = first.groupby("group")["n_candidates"].first()
    in_all = genes[genes["n_fits_in_top"] == genes["n_fits"]].groupby("group").size()
    return {
        str(group): {
            "in_all": int(in_all.get(group, 0)),
            "size": int(length),
            "by_chance": expected_in_all(min(size, int(length)), int(candidates[group]), len(fits)),
        }
        for group, length in lengths.items()
    }
