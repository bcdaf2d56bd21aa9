"""Phrases of the methods text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any


def count(value: Any, noun: str) -> str:
    """``3 cells``; ``the cells`` when the number is not known."""
    if value is None:
        return f"the {noun}s"
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def listed(words: list[str], last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def first_names(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c``, with an ellipsis where there are more than ``most``."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def quoted(names: Iterable[object], most: int | None = 3) -> str:
    """``'a', 'b', 'c'``: the first ``most`` names, for messages; ``None``: all."""
    return ", ".join(f"'{name}'" for name in islice(names, most))


def up_to(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """``a, b and 3 more``: the first ``most`` and the number of the others."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def options_text(options: Mapping[str, Any]) -> str:
    """``name = value`` of each."""
    return listed([f"`{name}` = {value}" for name, value in options.items()])


def sentence(text: str, names: Collection[str] = ()) -> str:
    """``text`` with a capital at its start, unless one of ``names`` stands there, and a stop at its end."""
    text = str(text).strip()
    if not text:
        return ""
    first = text[0] if text.split(maxsplit=1)[0] in names else text[0].upper()
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
