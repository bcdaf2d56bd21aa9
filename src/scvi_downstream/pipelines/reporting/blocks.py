"""Datasets as the figures, tables and links of a page."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.reporting.table_of_contents import expand
from scvi_downstream.report.sections import Entry, Section, Trust
from scvi_downstream.report.tables import TableView, summaries_table, summary_table, table_view, with_bounds

_PIXELS_PER_INCH = 96
_DEFAULT_DPI = 120
_MOST_ROWS = {"open": 100, "folded": 25}
_WIDEST = 2.2
# Of summaries: what stands in words above.
_SAID = ("sentences", "reason", "verdict")


@dataclass(frozen=True)
class Material:
    """What the page is made of: figures, tables and summaries by their names in the catalogue.

    ``study``, ``primary`` and ``models`` are names; ``table_rows`` are shown of each group of a long table.
    """

    contents: Mapping[str, Any]
    study: str
    primary: str
    models: tuple[str, ...]
    table_rows: int

    @property
    def champion(self) -> str:
        """Name of the champion; empty when none was chosen."""
        return str((self.contents.get("champion") or {}).get("model") or "")


@dataclass(frozen=True)
class Shown:
    """One figure, table or remark of the page; ``file`` is all of a table, ``stem`` and ``data`` are a figure's."""

    id: str
    kind: str
    caption: str
    file: str = ""
    png: str = ""
    stem: str = ""
    data: str = ""
    width: int = 0
    height: int = 0
    view: TableView | None = None
    note: str = ""
    champion: str = ""


@dataclass(frozen=True)
class Block:
    """What is shown together: open, or folded under a title."""

    title: str
    folded: bool
    shown: tuple[Shown, ...]

    @property
    def of_figures(self) -> bool:
        """Whether there is nothing else in it."""
        return all(shown.kind == "figure" for shown in self.shown)

    @property
    def wide(self) -> bool:
        """Whether its figures are too wide to stand side by side."""
        return self.of_figures and any(shown.width > _WIDEST * shown.height for shown in self.shown)


@dataclass(frozen=True)
class SectionView:
    """A section with what was made for it, what it says in words, and how far to trust it."""

    section: Section
    blocks: tuple[Block, ...]
    sentences: tuple[str, ...] = ()
    trust: Trust | None = None


def section_view(section: Section, material: Material) -> SectionView:
    """Blocks of a section; none when nothing of it was made."""
    return SectionView(section, tuple(_joined(list(_blocks(section, material)))))


def _blocks(section: Section, material: Material) -> Iterator[Block]:
    for item in section.items:
        expanded = expand(item, material.primary, material.models)
        entries = [entry for entry in expanded if entry.dataset in material.contents]
        if not entries:
            continue
        if item.per_model and item.kind == "result":
            yield Block(item.caption.rstrip("."), item.folded, (_models_table(entries, material),))
            continue
        title = entries[0].filled(item.caption).rstrip(".") if len(entries) == 1 else "The other models"
        yield Block(title, item.folded, tuple(_show_entry(entry, material) for entry in entries))


def _joined(blocks: list[Block]) -> list[Block]:
    """Folded figures that follow one another share one fold."""
    joined: list[Block] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if last and last.folded and block.folded and last.of_figures and block.of_figures:
            joined[-1] = Block("The other models and baselines", folded=True, shown=last.shown + block.shown)
        else:
            joined.append(block)
    return joined


def _show_entry(entry: Entry, material: Material) -> Shown:
    content = material.contents[entry.dataset]
    shown = Shown(
        id=re.sub(r"[^A-Za-z0-9]+", "-", entry.dataset),
        kind=entry.item.kind,
        caption=entry.filled(entry.item.caption),
        file=entry.filled(entry.item.file, material.study),
    )
    if isinstance(content, bytes):
        from scvi_downstream.plots.canvas import lighter

        width, height = _png_size(content)
        png = base64.b64encode(lighter(content)).decode()
        stem = entry.dataset.removesuffix("_figure").replace(".", "/")
        data = entry.item.data or f"{stem}_data.csv"
        shown = replace(shown, kind="figure", stem=stem, data=data)
        return replace(shown, png=png, width=width, height=height)
    if isinstance(content, Mapping):
        return replace(shown, kind="table", view=table_view(summary_table(_numbers(content))))
    return _table(shown, content, entry, material)


def _table(shown: Shown, table: pd.DataFrame, entry: Entry, material: Material) -> Shown:
    item = entry.item
    if table.empty:
        note = "The table is empty: there was nothing to test or to compare."
        return replace(shown, kind="empty", note=note)
    if item.order in table:
        table = table.sort_values(item.order, ascending=False, kind="stable")
    rows = material.table_rows if item.groups else _MOST_ROWS["folded" if item.folded else "open"]
    view = table_view(_columns(table, item.columns), rows, item.groups)
    champion = material.champion if entry.dataset == "leaderboard" else ""
    return replace(shown, kind="table", view=view, note=_cut_note(view), champion=champion)


def _models_table(entries: Sequence[Entry], material: Material) -> Shown:
    """The summaries of all models in one table, the champion marked."""
    item = entries[0].item
    table = summaries_table([(entry.model, material.contents[entry.dataset]) for entry in entries])
    identity = item.dataset.rsplit(".", maxsplit=1)[-1].replace("_", "-")
    view = table_view(_columns(table, item.columns))
    return Shown(identity, "table", item.caption, view=view, champion=material.champion)


def _columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns to show, without those that hold nothing."""
    chosen = table[with_bounds(columns, table)] if columns else table
    return chosen.dropna(axis="columns", how="all")


def _cut_note(view: TableView) -> str:
    if not view.cut:
        return "As a file:"
    groups = f" ({view.groups} groups)" if view.groups > 1 else ""
    return f"{len(view.rows):,} of {view.total:,} rows{groups}; all of them:"


def _numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what is said in words."""
    return {
        name: _numbers(value) if isinstance(value, Mapping) else value
        for name, value in summary.items()
        if name not in _SAID
    }


def _png_size(png: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels, by the picture's own resolution."""
    width, height = struct.unpack(">II", png[16:24])
    dpi = float(_DEFAULT_DPI)
    position = png.find(b"pHYs", 0, 4096)
    if position > 0 and png[position + 12] == 1:
        dpi = struct.unpack(">I", png[position + 4 : position + 8])[0] * 0.0254
    return round(width * _PIXELS_PER_INCH / dpi), round(height * _PIXELS_PER_INCH / dpi)
