"""What counts as a number."""

from __future__ import annotations

from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are none, though Python has them as integers."""
    return isinstance(value, int | float) and not isinstance(value, bool)
