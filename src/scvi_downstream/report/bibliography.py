"""BibTeX entries, and citations of them in text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_ENTRY = re.compile(r"@(?P<kind>\w+)\{(?P<key>[^,\s]+),(?P<body>.*?)^\}", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)
_CITATION = re.compile(r"\[(@[\w-]+(?:;\s*@[\w-]+)*)\]")
_ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}


@dataclass(frozen=True)
class Reference:
    """One BibTeX entry."""

    key: str
    fields: dict[str, str]
    source: str

    @property
    def link(self) -> str:
        """Address of the publication."""
        return f"https://doi.org/{self.fields['doi']}" if "doi" in self.fields else self.fields.get("url", "")

    @property
    def authors(self) -> str:
        """``Lopez R, Regier J, …``; from the seventh on, ``et al.``."""
        names = _plain_text(self.fields.get("author", "")).split(" and ")
        short = [_initials(name) for name in names if name != "others"]
        if len(short) > 6 or "others" in names:
            return ", ".join([*short[:3], "et al."])
        return ", ".join(short)

    @property
    def published(self) -> str:
        """``Nature Methods 15: 1053-1058 (2018)``, with an en dash."""
        fields = self.fields
        where = fields.get("journal") or fields.get("booktitle") or fields.get("publisher")
        where = where or fields.get("howpublished") or ""
        if "eprint" in fields:
            where = f"{fields.get('archiveprefix', 'arXiv')}:{fields['eprint']}"
        volume = f" {fields['volume']}" if "volume" in fields else ""
        pages = f": {fields['pages']}".replace("--", "\N{EN DASH}") if "pages" in fields else ""
        return _plain_text(f"{where}{volume}{pages} ({fields['year']})")

    @property
    def title(self) -> str:
        """Title without BibTeX's braces."""
        return _plain_text(self.fields["title"])


def _initials(name: str) -> str:
    family, _, given = name.partition(", ")
    letters = "".join(part[0] for part in re.split(r"[\s-]+", given) if part)
    return f"{family} {letters}".strip()


def _plain_text(latex: str) -> str:
    """BibTeX's accents and braces as Unicode text."""
    import unicodedata

    text = re.sub(r"\{\\([\"'`^~])(\w)\}", lambda found: found[2] + _ACCENTS[found[1]], latex)
    return unicodedata.normalize("NFC", text.replace("{", "").replace("}", ""))


def parse(bibtex: str) -> dict[str, Reference]:
    """Entries of a BibTeX text by key, in their order; one field a line, as in ``references.bib``."""
    return {
        found["key"]: Reference(found["key"], dict(_FIELD.findall(found["body"])), found[0])
        for found in _ENTRY.finditer(bibtex)
    }


@cache
def all_references() -> dict[str, Reference]:
    """Every reference that the project knows."""
    return parse(files(__package__).joinpath("references.bib").read_text(encoding="utf-8"))


def cited_keys(text: str) -> list[str]:
    """Keys of ``[@lopez2018; @xu2021]`` in the order of their first mention."""
    keys = (key.strip().lstrip("@") for found in _CITATION.finditer(text) for key in found[1].split(";"))
    return list(dict.fromkeys(keys))


def write_references(text: str) -> str:
    """BibTeX of exactly the entries cited in ``text``, in the order of their first mention.

    Raises
    ------
    KeyError
        A cited key is not in ``references.bib``.
    """
    known = all_references()
    return "\n\n".join(known[key].source for key in cited_keys(text)) + "\n"


def linked_citations(html: str, numbers: dict[str, int]) -> str:
    """Citations in escaped text as numbered links to the list of references."""

    def link(found: re.Match[str]) -> str:
        keys = [key.strip().lstrip("@") for key in found[1].split(";")]
        links = [f'<a href="#ref-{key}">{numbers[key]}</a>' for key in keys if key in numbers]
        return f'<span class="cite">[{", ".join(links)}]</span>'

    return _CITATION.sub(link, html)
