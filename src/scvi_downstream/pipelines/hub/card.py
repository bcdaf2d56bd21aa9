"""The model card: what the model is, how good it is, what it was trained on, and what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.pipelines.hub.options import HubOptions

# Heading → what the names of its scores begin with, and what its numbers are.
_GROUPS = {
    "Held-out likelihood": (
        ("elbo_test", "marginal_ll_test", "reconstruction_error_test"),
        "nats per cell; of ELBO and marginal log-likelihood higher is better, of the reconstruction error lower",
    ),
    "Integration": (
        ("scib_",),
        "scib-metrics, 0 to 1, higher is better; bio conservation is judged by the study's labels",
    ),
    "Clusters against labels": (("leiden_", "kmeans_", "hierarchical_"), "ARI and NMI, higher is better"),
}
_ENDS = ("_low", "_high", "_se")


def tabulate_card_scores(scores: Mapping[str, Any]) -> str:
    """Markdown: a table a kind of score, with 95 % intervals or standard errors where there are some.

    Parameters
    ----------
    scores
        Flat record; ``<metric>_low`` and ``<metric>_high`` are intervals, ``<metric>_se`` standard errors.

    Returns
    -------
    Empty where none of the scores is known here.
    """
    parts = []
    for heading, (beginnings, about) in _GROUPS.items():
        names = [
            name
            for name, value in scores.items()
            if name.startswith(beginnings) and not name.endswith(_ENDS) and _is_number(value)
        ]
        if names:
            rows = "\n".join(
                f"| `{name}` | {scores[name]:,.4g} | {_uncertainty(name, scores)} |" for name in names
            )
            parts.append(f"**{heading}** ({about})\n\n| score | value | uncertainty |\n|---|---|---|\n{rows}")
    return "\n\n".join(parts)


def _uncertainty(name: str, scores: Mapping[str, Any]) -> str:
    low, high, error = (scores.get(f"{name}{end}") for end in _ENDS)
    if _is_number(low) and _is_number(high):
        return f"{low:,.4g} to {high:,.4g} (95 % interval)"
    return f"± {error:,.2g} (standard error)" if _is_number(error) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SCVI_TOOLS = "scvi-tools: Gayoso et al. (2022), doi:10.1038/s41587-021-01206-w"
_COSTS = ("epochs", "best_epoch", "batch_size", "n_parameters", "seconds", "device")


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes
    ----------
    study, name, family
        Of the model.
    settings, setup
        Arguments of the class and of ``setup_anndata``.
    scores
        Flat record, with ``<metric>_low`` and ``<metric>_high`` where there are intervals.
    champion
        ``model`` and ``reason``; empty where nothing was compared.
    training, data
        Summaries of the training and of the preparation.
    seed
        Of the study.
    split
        Cells by ``train``, ``validation`` and ``test``.
    versions
        ``scvi_version`` and ``anndata_version``.
    n_genes
        That the model reads.
    annotated
        Whether cell types are known.
    columns
        obs columns of the minified cells; ``None``: there are no cells, and ``no_cells`` says why.
    no_cells
        The reason.
    """

    study: str
    name: str
    family: str
    settings: Mapping[str, Any]
    setup: Mapping[str, Any]
    scores: Mapping[str, Any]
    champion: Mapping[str, Any]
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    seed: int
    split: Mapping[str, int]
    versions: Mapping[str, Any]
    n_genes: int
    annotated: bool
    columns: Sequence[str] | None
    no_cells: str | None


def write_card(facts: CardFacts, options: HubOptions) -> str:
    """Markdown with the header by which Hugging Face and scvi-hub sort models.

    scvi-tools' own card helper knows five families and leaves the scores open, so the card is written here, with its
    tags and the order of its sections.

    Parameters
    ----------
    facts
        Of the model.
    options
        Licence, description, references and addresses.
    """
    family = FAMILIES[facts.family]
    called, paper = family.title, family.paper
    sections = {
        f"{called} model '{facts.name}' of the study {facts.study}": _opening(facts, options, called),
        "Metrics": tabulate_card_scores(facts.scores),
        "Training data": _data(facts, options),
        "Training": _training(facts, options),
        "Cells in this folder": _cells(facts),
        "How to use it": _use(facts),
        "Caveats": _bullets(_caveats(facts, options)),
        "Licence": options.license or "None was given: ask the authors before using the model.",
        "References": _bullets([*options.citation, f"{called}: {paper}", _SCVI_TOOLS]),
    }
    text = "\n\n".join(f"# {title}\n\n{body}" for title, body in sections.items() if body)
    return f"---\n{_header(facts, options)}\n---\n\n{text}\n"


def _header(facts: CardFacts, options: HubOptions) -> str:
    from huggingface_hub import ModelCardData

    tags = [
        "biology",
        "genomics",
        "single-cell",
        f"model_cls_name:{facts.family}",
        f"scvi_version:{facts.versions['scvi_version']}",
        f"anndata_version:{facts.versions['anndata_version']}",
        "modality:rna",
        *(["modality:protein"] if "proteins" in FAMILIES[facts.family].can else []),
        *(f"tissue:{tissue}" for tissue in options.tissues),
        f"annotated:{facts.annotated}",
    ]
    return ModelCardData(license=options.license, library_name="scvi-tools", tags=tags).to_yaml()


def _opening(facts: CardFacts, options: HubOptions, called: str) -> str:
    n_cells = facts.data.get("n_cells", facts.training.get("n_cells"))
    cells = f"{n_cells:,} cells and " if n_cells else ""
    text = [
        options.description,
        f"{called} (`{facts.family}` of scvi-tools {facts.versions['scvi_version']}), fitted to the raw counts of "
        f"{cells}{facts.n_genes:,} genes.",
    ]
    if facts.champion.get("model") == facts.name:
        text.append(f"It was chosen among the study's models: {facts.champion['reason']}")
    elif facts.champion.get("model"):
        text.append(f"The study's champion is another model: {facts.champion['reason']}")
    return "\n\n".join(part for part in text if part)


def _data(facts: CardFacts, options: HubOptions) -> str:
    data = facts.data
    groups = {
        name: len(data[name]) for name in ("batches", "labels", "conditions", "samples") if data.get(name)
    }
    rows = {
        "cells": data.get("n_cells"),
        "genes measured": data.get("n_genes"),
        "genes modelled": facts.n_genes,
        "median counts a cell": data.get("median_counts_per_cell"),
        "share of zeros": data.get("sparsity"),
        **groups,
        "fingerprint of counts and names (SHA-256)": data.get("data_fingerprint"),
        "where they are": options.training_data_url,
    }
    return _table(rows)


def _training(facts: CardFacts, options: HubOptions) -> str:
    rows = {name.replace("_", " "): facts.training.get(name) for name in _COSTS}
    rows |= {"seed": facts.seed, "code": options.training_code_url}
    setup = {name: value for name, value in facts.setup.items() if value is not None}
    return "\n\n".join(
        [
            _table(rows),
            f"{facts.split['train']:,} cells were trained on; {facts.split['validation']:,} chose the epoch that is "
            f"kept, and {facts.split['test']:,} that neither saw give the scores named `test`.",
            f"Arguments of `{facts.family}`:",
            _json(facts.settings),
            "Arguments of `setup_anndata`:",
            _json(setup),
        ]
    )


def _cells(facts: CardFacts) -> str:
    if facts.columns is None:
        return f"None ({facts.no_cells}). The model has to be given counts."
    kept = ", ".join(f"`{name}`" for name in facts.columns) or "none"
    return (
        "`adata.h5ad` is minified: it holds the posterior mean and variance of the latent of every cell and its "
        f"library size, but no counts. obs columns: {kept}."
    )


def _use(facts: CardFacts) -> str:
    has_cells = facts.columns is not None
    theirs = ["from scvi.hub import HubModel", "", "hub = HubModel(folder)"]
    ours = [
        "from scvi_downstream.datasets.hub_folder_dataset import open_hub_folder",
        "from scvi_downstream.serving import Embedder",
        "",
        "opened = open_hub_folder(folder)",
    ]
    if has_cells:
        theirs.append("latent = hub.model.get_latent_representation()")
        ours.append("latent = opened.latent  # of the cells in this folder")
    else:
        theirs.append("hub.load_model(adata=counts)  # AnnData of raw counts")
    ours.append(
        "embedded = Embedder(opened.model).embed(counts)  # of new cells: AnnData or a table of raw counts"
    )
    return "\n\n".join(
        [
            "With scvi-tools, which unpickles the file:",
            _python(theirs),
            "With scvi-downstream, which reads weights and plain data only:",
            _python(ours),
        ]
    )


def _caveats(facts: CardFacts, options: HubOptions) -> list[str]:
    caveats = [
        "An encoder places cells of types that it has never seen among those it knows; a new cell's place is no proof "
        "of its type.",
        "Scores are of this study's cells and do not carry over to other tissues, protocols or gene sets.",
    ]
    if facts.setup.get("batch_key") and not facts.settings.get(
        "encode_covariates", facts.family == "TOTALVI"
    ):
        caveats.append(
            "The encoder sees no batch: cells of a new batch are embedded as they are, and what sets the batch apart "
            "may remain."
        )
    if "labels" in FAMILIES[facts.family].needs:
        caveats.append("It was trained on the study's labels, so scores by labels are too good.")
    if not any(name.startswith("elbo_test") for name in facts.scores):
        caveats.append("It was not scored on held-out cells.")
    if not options.license:
        caveats.append("No licence was given.")
    return caveats


def _table(rows: Mapping[str, Any]) -> str:
    shown = [f"| {name} | {_shown(value)} |" for name, value in rows.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *shown])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _json(content: Mapping[str, Any]) -> str:
    return f"```json\n{json.dumps(dict(content), indent=2, default=str)}\n```"


def _python(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```"])
