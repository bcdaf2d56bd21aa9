"""Which condition the others are compared with."""

from __future__ import annotations

from collections.abc import Sequence

REFERENCE_NAMES = (
    "ctrl", "control", "controls", "untreated", "unstimulated", "unstim", "vehicle", "mock", "dmso", "pbs",
    "healthy", "normal", "wt", "wildtype", "wild type", "wild-type", "baseline",
)  # fmt: skip


def reference_condition(conditions: Sequence[str]) -> str:
    """The condition that others are compared with: one named like a control, or else the first."""
    return next((name for name in conditions if name.strip().lower() in REFERENCE_NAMES), conditions[0])
