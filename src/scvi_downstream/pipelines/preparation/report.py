"""Counts, models and their latent spaces in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import DEMO
from scvi_downstream.report.contents import Item, Section
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import count, listed, options_text

SECTION = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item(dataset="qc_figure", caption="Quality metrics per cell, with the filters that were applied."),
        Item(dataset="hvg_figure", caption="Highly variable genes: those that the models see."),
    ),
)


def describe_preparation(study: Any, keys: Keys, summary: Mapping[str, Any]) -> str:
    """Where the counts come from, what was dropped, which genes the models see."""
    source = f"study '{study.study}'"
    if study.input == DEMO:
        source = "peripheral blood mononuclear cells [@zheng2017], as shipped with scanpy"
    n_genes, n_variable = summary.get("n_genes"), summary.get("n_highly_variable")
    text = [
        f"Raw counts of {count(summary.get('n_cells'), 'cell')} and {count(n_genes, 'gene')} ({source}) "
        f"were analysed with {named('scanpy')} [@wolf2018] and {named('anndata')} [@virshup2024]. Every "
        "value was checked to be a non-negative integer."
    ]
    filters = {name: found["threshold"] for name, found in (summary.get("filters") or {}).items()}
    if filters:
        text.append(f"Cells and genes were filtered by {options_text(filters)}.")
    dropped = [
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in (summary.get("dropped") or {}).items()
        if number
    ]
    if dropped:
        text.append(f"Left out: {listed(dropped)}.")
    if n_variable is not None and n_variable == n_genes:
        text.append(f"All {n_genes:,} genes were modelled.")
    elif n_variable is not None:
        cited = " [@stuart2019]" if "seurat" in str(summary.get("hvg_method", "")).lower() else ""
        text.append(
            "Models saw the highly variable genes: "
            f"{summary.get('hvg_method', f'{n_variable:,} genes')}{cited}."
        )
    return " ".join(text)
