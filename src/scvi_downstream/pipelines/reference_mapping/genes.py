"""Which gene of the query is which gene of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError

NAMES = "names"
_AS_GOOD = 0.9
_VERSION = r"^(ENS[A-Z]*G\d+)\.\d+$"


@dataclass(frozen=True)
class GeneMatch:
    """Genes of a model found in other counts.

    Attributes
    ----------
    positions
        ``(n_genes,)`` position in the query of each gene of the model; -1: not there.
    query_naming, reference_naming
        ``names``, or the var column whose values agree.
    """

    positions: np.ndarray
    query_naming: str
    reference_naming: str

    @property
    def present(self) -> np.ndarray:
        """``(n_genes,)`` whether the query has the gene."""
        return self.positions >= 0

    @property
    def note(self) -> str | None:
        """What a user should know when other names than the genes' own were compared."""
        sides = [
            f"{side}'s var column '{naming}'"
            for side, naming in (("query", self.query_naming), ("reference", self.reference_naming))
            if naming != NAMES
        ]
        return f"genes were matched by the {' and the '.join(sides)}" if sides else None


def match_genes(query: pd.DataFrame, reference: pd.DataFrame, min_shared: float) -> GeneMatch:
    """Find the reference's genes in the query by the names, or by the var columns, that agree most.

    Parameters
    ----------
    query
        var of the query, indexed by gene name.
    reference
        var of the modelled genes in the order of the model, indexed by gene name.
    min_shared
        Least share of the reference's genes.

    Returns
    -------
    Positions in the query. A name that stands for several genes matches none; versions of Ensembl
    identifiers do not matter.

    Raises
    ------
    InputError
        Fewer genes agree, whatever names are compared.
    """
    matches = [
        GeneMatch(_positions(theirs, ours), query_naming, reference_naming)
        for reference_naming, theirs in _namings(reference).items()
        for query_naming, ours in _namings(query).items()
    ]
    best = max(matches, key=lambda match: int(match.present.sum()))
    if matches[0].present.sum() >= _AS_GOOD * best.present.sum():
        best = matches[0]  # the genes' own names on both sides
    n_shared, n_genes = int(best.present.sum()), len(reference)
    if n_shared == 0 or n_shared < min_shared * n_genes:
        columns = [name for name in _namings(query) if name != NAMES]
        tried = f", and no var column ({', '.join(columns)}) agrees better" if columns else ""
        compared = f" ({best.note})" if best.note else tried
        raise InputError(
            f"the query holds {n_shared:,} of the {n_genes:,} genes of the reference "
            f"({100 * n_shared / n_genes:.3g} %), and reference_mapping.min_shared_genes asks for "
            f"{100 * min_shared:.3g} %: the reference names genes like '{reference.index[0]}', the query like "
            f"'{query.index[0]}'{compared}; name the query's genes as the reference does, or put those names "
            "into a var column"
        )
    return best


def _namings(var: pd.DataFrame) -> dict[str, pd.Index]:
    """The names of the genes and every var column of texts that are mostly distinct."""
    namings = {NAMES: _plain(pd.Series(var.index, dtype=object))}
    for column, values in var.items():
        texts = values.astype(object)
        known = texts.dropna()
        is_text = bool(len(known)) and known.map(lambda value: isinstance(value, str)).all()
        if is_text and known.nunique() > len(var) / 2:
            namings[str(column)] = _plain(texts)
    return namings


def _plain(names: pd.Series) -> pd.Index:
    return pd.Index(names.fillna("").astype(str).str.replace(_VERSION, r"\1", regex=True), dtype=object)


def _positions(theirs: pd.Index, ours: pd.Index) -> np.ndarray:
    """Position among ``ours`` of each of ``theirs``, -1 where either name is empty or ambiguous."""
    usable = np.flatnonzero(~ours.duplicated(keep=False) & (ours != ""))
    found = ours[usable].get_indexer(theirs.where(~theirs.duplicated(keep=False), None))
    return np.where(found >= 0, usable[found] if len(usable) else -1, -1)
