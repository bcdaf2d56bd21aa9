"""A model's scores as the table of its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
