"""The model card: what the model is, how good it is, what it was trained on, and what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.pipelines.hub.options import HubOptions
from scvi_downstream.report.methods import jinja_environment
from scvi_downstream.runtime.numbers import is_number
from scvi_downstream.scoring.criteria import CLUSTERINGS

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
    "Clusters against labels": (tuple(f"{name}_" for name in CLUSTERINGS), "ARI and NMI, higher is better"),
}
_ENDS = ("_low", "_high", "_se")


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    ``settings`` and ``setup`` are arguments of the class and of ``setup_anndata``; ``scores`` a flat record, with
    ``<metric>_low`` and ``<metric>_high`` where there are intervals; ``champion`` its ``model`` and ``reason``, empty
    where nothing was compared; ``training`` and ``data`` summaries; ``split`` cells by share; ``versions`` those of
    scvi-tools and anndata; ``annotated`` says whether cell types are known; ``columns`` are the obs columns of the
    minified cells; ``None``: there are no cells, and ``no_cells`` says why.
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

    @property
    def has_held_out_scores(self) -> bool:
        """Whether cells that the training did not see were scored."""
        return any(name.startswith("elbo_test") for name in self.scores)


def write_card(facts: CardFacts, options: HubOptions) -> str:
    """Markdown with the header by which Hugging Face and scvi-hub sort models.

    scvi-tools' own card helper knows five families and leaves the scores open, so the card is written here, with its
    tags and the order of its sections.
    """
    environment = jinja_environment(keep_trailing_newline=True, autoescape=False)
    environment.filters |= {"number": _format_value, "json": _format_json}
    template = environment.from_string(files(__package__).joinpath("card.jinja").read_text(encoding="utf-8"))
    return template.render(
        facts=facts,
        options=options,
        family=FAMILIES[facts.family],
        header=_write_header(facts, options),
        scores=tabulate_card_scores(facts.scores),
        setup={name: value for name, value in facts.setup.items() if value is not None},
    )


def _write_header(facts: CardFacts, options: HubOptions) -> str:
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


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if is_number(value) else str(value)


def _format_json(content: Mapping[str, Any]) -> str:
    return json.dumps(dict(content), indent=2, default=str)


def tabulate_card_scores(scores: Mapping[str, Any]) -> str:
    """Markdown: a table a kind of score of a flat record, empty where none of the scores is known here.

    ``<metric>_low`` and ``<metric>_high`` are 95 % intervals, ``<metric>_se`` standard errors.
    """
    parts = []
    for heading, (beginnings, about) in _GROUPS.items():
        names = [
            name
            for name, value in scores.items()
            if name.startswith(beginnings) and not name.endswith(_ENDS) and is_number(value)
        ]
        rows = [f"| `{name}` | {scores[name]:,.4g} | {_uncertainty(name, scores)} |" for name in names]
        if rows:
            head = f"**{heading}** ({about})\n\n| score | value | uncertainty |\n|---|---|---|"
            parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def _uncertainty(name: str, scores: Mapping[str, Any]) -> str:
    low, high, error = (scores.get(f"{name}{end}") for end in _ENDS)
    if is_number(low) and is_number(high):
        return f"{low:,.4g} to {high:,.4g} (95 % interval)"
    return f"± {error:,.2g} (standard error)" if is_number(error) else ""
