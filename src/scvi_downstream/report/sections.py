"""What a section of the report is made of, and its one line on the first screen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Kind = Literal["figure", "result"]
PRIMARY = "{primary}"
MODEL = "{model}"


@dataclass(frozen=True)
class Item:
    """One dataset that the report shows.

    Attributes
    ----------
    dataset
        Name in the catalogue; ``{primary}`` stands for the primary model, ``{model}`` for every model.
    caption
        What the reader sees, in a sentence; the alternative text of figures.
    file
        Where the whole of it lies, from the report's folder; ``{study}`` and ``{model}`` are filled in.
    groups
        Columns whose groups are cut to ``table_rows`` rows each; empty: the whole table is one group.
    columns
        Columns to show, in this order; empty: all.
    order
        Column to sort by, the highest first; empty: as it is.
    folded
        Shown on demand.
    data
        File with what a figure shows, where it is not the figure's own.
    """

    dataset: str
    caption: str
    file: str = ""
    groups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    order: str = ""
    folded: bool = False
    data: str = ""

    @property
    def kind(self) -> Kind:
        """``figure`` (PNG) or ``result`` (table or summary)."""
        return "figure" if self.dataset.endswith("_figure") else "result"

    @property
    def per_model(self) -> bool:
        """Whether there is one for every model."""
        return self.dataset.startswith(MODEL)


class Trust(StrEnum):
    """How far a result can be trusted, in the words of the reader."""

    HOLDS = "holds"
    UNCERTAIN = "uncertain"
    FAILS = "does not hold"


@dataclass(frozen=True)
class Headline:
    """What a capability found, in one line of at most 120 characters, and how far to trust it."""

    text: str
    trust: Trust


@dataclass(frozen=True)
class Section:
    """A heading, a sentence for the reader and further ones for whoever asks, and what is shown below."""

    title: str
    text: str
    items: tuple[Item, ...]

    @property
    def anchor(self) -> str:
        """Fragment of the page's address."""
        return "-".join(self.title.lower().split())

    @property
    def lead(self) -> str:
        """First sentence of the text."""
        return self._sentences[0]

    @property
    def reading(self) -> str:
        """The other sentences: how to read what is shown."""
        return self._sentences[1]

    @property
    def _sentences(self) -> tuple[str, str]:
        found = re.match(r"(.+?[.?])\s+(?=[A-Z])(.+)", self.text, re.DOTALL)
        return (found[1], found[2]) if found else (self.text, "")


@dataclass(frozen=True)
class Entry:
    """An item for one model: all placeholders can be filled in."""

    item: Item
    dataset: str
    model: str

    def filled(self, text: str, study: str = "") -> str:
        """``text`` with the names of the model and the study."""
        return text.replace(MODEL, self.model).replace(PRIMARY, self.model).replace("{study}", study)


def result(file: str, caption: str, folder: str | None = None, **shown: Any) -> Item:
    """A table or a summary whose file has its own name: ``markers.csv`` of ``markers``.

    Parameters
    ----------
    file
        ``{model}/loadings.csv`` is that of ``{model}.loadings``.
    folder
        Where it lies, from the report's; ``None``: the study's folder of results.
    caption, shown
        As of :class:`Item`.
    """
    dataset, folder = file.rpartition(".")[0].replace("/", "."), OUTPUT if folder is None else folder
    return Item(dataset=dataset, caption=caption, file=folder + file, **shown)


def names(spaced: str) -> tuple[str, ...]:
    """Words of a text: names of columns are easier to read without quotes."""
    return tuple(spaced.split())


OUTPUT = "../../07_model_output/{study}/"
