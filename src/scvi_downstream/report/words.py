"""Phrases of the methods text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def count(value: Any, noun: str) -> str:
    """``3 cells``; ``the cells`` when the number is not known."""
    if value is None:
        return f"the {noun}s"
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def listed(words: list[str], last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def options_text(options: Mapping[str, Any]) -> str:
    """``name = value`` of each."""
    return listed([f"`{name}` = {value}" for name, value in options.items()])


def methods_text(paragraphs: Iterable[tuple[str, str]]) -> str:
    """Titled paragraphs as Markdown; empty ones are left out."""
    return "\n\n".join(f"**{title}.** {text}" for title, text in paragraphs if text) + "\n"
