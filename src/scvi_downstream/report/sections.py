"""What a section of the report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["figure", "page", "result"]
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
    """

    dataset: str
    caption: str
    file: str = ""
    groups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    order: str = ""
    folded: bool = False

    @property
    def kind(self) -> Kind:
        """``figure`` (PNG), ``page`` (HTML, linked), or ``result`` (table or summary)."""
        if self.dataset.endswith("_figure"):
            return "figure"
        return "page" if self.dataset.endswith("_page") else "result"

    @property
    def per_model(self) -> bool:
        """Whether there is one for every model."""
        return self.dataset.startswith(MODEL)


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two for the reader, and what is shown below."""

    title: str
    text: str
    items: tuple[Item, ...]

    @property
    def anchor(self) -> str:
        """Fragment of the page's address."""
        return "-".join(self.title.lower().split())


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
