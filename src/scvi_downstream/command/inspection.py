"""What a file holds, which of its obs columns look like keys, and the command to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from scvi_downstream.cells.guesses import Guess, as_options, guess_keys, likeliest
from scvi_downstream.cells.keys import PROTEIN_KEY, ROLES, Keys
from scvi_downstream.datasets.counts_input_dataset import has_proteins
from scvi_downstream.datasets.input_contents import InputContents, open_contents, some_values
from scvi_downstream.pipelines.preparation.nodes import CELL_NAMES_REMEDY, GENE_NAMES_REMEDY
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.preparation.validation import (
    PROBLEMS,
    check_values,
    require_size,
    require_unique,
    slot_name,
)
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.words import first_names
from scvi_downstream.study.defaults import defaults_of

MOST_VALUES = 2**23
"""Counts that are looked at; the run looks at all."""
_COLUMNS_NAMED = 8


def described(source: str, layer: str | None) -> str:
    """Plain lines on a file or folder.

    Parameters
    ----------
    source
        What ``input`` may be.
    layer
        With the counts; ``None``: X, or where that holds none, a layer that does.

    Raises
    ------
    InputError
        It cannot be run.
    """
    options = defaults_of(PreparationOptions)
    with open_contents(source) as contents:
        require_unique(contents.obs.index, "cell", CELL_NAMES_REMEDY)
        require_unique(contents.genes, "gene", GENE_NAMES_REMEDY)
        require_size((len(contents.obs), len(contents.genes)), options.min_cells, options.min_genes)
        slot, counts = _find_counts(contents, layer)
    guesses = guess_keys(contents.obs, Keys(), ROLES, options.unknown_labels)
    layers = [str(name) for name in contents.slots if name is not None]
    proteins = f"{PROTEIN_KEY} (the models of proteins are run, too)" if has_proteins(source) else "none"
    columns = contents.obs.columns
    facts = {
        "raw counts": counts,
        "layers": first_names(layers) or "none",
        "obsm": first_names(contents.obsm) or "none",
        "proteins": proteins,
        "obs": first_names(columns, _COLUMNS_NAMED) or "no columns",
    }
    command = ["scvi-downstream run", shlex.quote(source), f"--layer {shlex.quote(slot)}" if slot else ""]
    return "\n".join(
        [
            f"{source}: {len(contents.obs):,} cells, {len(contents.genes):,} genes",
            *(f"  {name:<12}{value}" for name, value in facts.items()),
            *_columns_in_words(guesses),
            "",
            "To run it:",
            f"  {' '.join(filter(None, [*command, as_options(likeliest(guesses))]))}",
        ]
    )


def _find_counts(contents: InputContents, layer: str | None) -> tuple[str | None, str]:
    """The slot with raw counts, and what was seen there."""
    slots = contents.slots
    if layer and layer not in slots:
        raise InputError(f"'{layer}' is not a layer of the input{closest(layer, filter(None, slots))}")
    chosen = layer or None
    problem = _problem(slots.get(chosen))
    if not problem:
        return chosen, f"{slot_name(chosen)} ({_seen(slots[chosen])})"
    good = [name for name in slots if name != chosen and not _problem(slots[name])]
    if good and layer is None:
        return good[0], f"{slot_name(good[0])} ({_seen(slots[good[0]])}); in X {problem}"
    others = " and ".join(f"{slot_name(name)} holds them" for name in good)
    remedy = others or (
        "no layer holds any: bring raw counts" if slots else "there are no layers: bring raw counts"
    )
    raise InputError(f"{slot_name(chosen)} does not hold raw counts: {problem}; {remedy}")


def _problem(stored: Any) -> str:
    """Why values are no raw counts; empty: they are."""
    if stored is None:
        return "there is nothing"
    values, _ = some_values(stored, MOST_VALUES)
    if values.dtype.kind not in "biuf":
        return f"there are values of type {values.dtype}"
    found = check_values(values[None, :])
    if found.holds_counts:
        return ""
    bad = next((kind for kind, n_bad in enumerate(found.n_bad) if n_bad), None)
    return (
        "all values are zero" if bad is None else f"the value {values[found.first[bad]]:g} is {PROBLEMS[bad]}"
    )


def _seen(stored: Any) -> str:
    values, total = some_values(stored, MOST_VALUES)
    part = f", of which {len(values) / total:.0%} were looked at" if len(values) < total else ""
    return f"{total:,} values{part}"


def _columns_in_words(guesses: list[Guess]) -> Iterator[str]:
    yield ""
    if not guesses:
        yield f"No column of obs looks like a key; name those that you have: {', '.join(map(_option, ROLES))}"
        return
    for title, is_sure in (("Columns that look like keys:", True), ("Perhaps:", False)):
        some = [guess for guess in guesses if guess.is_sure == is_sure]
        if some:
            yield title
        for guess in some:
            yield f"  {_option(guess.key):<12}{guess.column} ({guess.groups}): {guess.why}"


def _option(key: str) -> str:
    return f"--{key.removesuffix('_key')}"
