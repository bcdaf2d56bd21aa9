"""How samples, batches, conditions, labels and covariates lie to one another, and what that leaves unanswered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Literal

import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import as_categories, constant_within
from scvi_downstream.cells.samples import by_group, choose_block, crossing_columns, split_samples
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.words import count, listed, quoted, up_to

MOST_NAMED = 5

type Relation = Literal["confounded", "nested", "nests", "crossed", "partly crossed"]
"""Values go one by one; the first's lie in one of the second; the reverse; all combinations occur; some do."""


def relation(table: pd.DataFrame) -> Relation:
    """How two columns lie to each other, from numbers of units (first × second, no empty rows and columns)."""
    filled = table.to_numpy() > 0
    nested, nests = (bool((filled.sum(axis=axis) == 1).all()) for axis in (1, 0))
    if nested or nests:
        return "confounded" if nested and nests else "nested" if nested else "nests"
    return "crossed" if filled.all() else "partly crossed"


def describe_design(obs: pd.DataFrame, keys: Keys) -> dict[str, Any]:
    """The design of a study, as it is known before anything is trained.

    Parameters
    ----------
    obs, keys
        One row a cell; the sample, batch, condition, label and categorical covariates that it holds.

    Returns
    -------
    ``samples``, their name, and ``n_samples``; ``conditions``: samples of each; ``block``, as
    :func:`~scvi_downstream.cells.samples.find_block` finds it, and ``n_blocks``; ``candidates``: other columns that
    cross the conditions, but for those that the block divides; ``relations``: of each pair of columns with several
    values ``first``, ``second``, ``relation``, and ``fewest`` and ``most`` samples (without ``sample_key`` cells) of
    the combinations that there are; ``sentences``, the samples first; ``warnings``.
    """
    samples, unit = "", pd.Series(range(len(obs)), index=obs.index)
    if keys.sample_key:
        samples, unit = split_samples(obs, keys)
    names = list(keys.categorical.values())
    block, candidates = None, list[str]()
    if keys.sample_key and keys.condition_key:
        crossing = crossing_columns(obs, keys, unit)
        block = choose_block(obs, keys, crossing) if samples == keys.sample_key else keys.sample_key
        candidates = [name for name in crossing if not (block and constant_within(obs[name], obs[block]))]
        names += [block] if block else []
    columns = {name: pd.Series(as_categories(obs[name]), index=obs.index) for name in names}
    sizes: dict[str, int] = {}
    if keys.sample_key and keys.condition_key:
        of_sample = by_group(columns[keys.condition_key], unit)
        sizes = {str(name): int(n) for name, n in of_sample.value_counts(sort=False).items()}
    design = {
        "samples": samples,
        "n_samples": int(unit.nunique()) if keys.sample_key else 0,
        "conditions": sizes,
        "block": block,
        "n_blocks": int(columns[block].nunique()) if block else 0,
        "candidates": candidates,
        "relations": list(_relations(pd.DataFrame(columns), unit)),
    }
    return design | {
        "sentences": list(filter(None, _in_words(design, keys))),
        "warnings": list(_unanswered(design, keys)),
    }


def _relations(columns: pd.DataFrame, unit: pd.Series) -> Iterator[dict[str, Any]]:
    """``columns`` are categories by cell, of which ``unknown`` does not count."""
    known = {name: values.cat.codes.where(values != UNKNOWN, -1) for name, values in columns.items()}
    codes = pd.concat([*known.values(), unit], axis=1, ignore_index=True).drop_duplicates()
    for (i, first), (j, second) in combinations(enumerate(columns), 2):
        each = codes.loc[(codes[i] >= 0) & (codes[j] >= 0), [i, j, len(known)]].drop_duplicates()
        table = pd.crosstab(each[i], each[j])
        if min(table.shape) > 1:
            n = table.to_numpy()[table.to_numpy() > 0]
            facts = {"relation": relation(table), "fewest": int(n.min()), "most": int(n.max())}
            yield {"first": first, "second": second, **facts}


def _in_words(design: Mapping[str, Any], keys: Keys) -> Iterator[str]:
    """The samples; how columns lie, where that does not go without saying; what else could be a block."""
    if design["n_samples"]:
        sizes = [f"{n} of '{name}'" for name, n in design["conditions"].items()]
        of_conditions = f" ({up_to(sizes, MOST_NAMED)})" if len(sizes) > 1 else ""
        blocks = f" in {count(design['n_blocks'], 'block')} of '{design['block']}'" if design["block"] else ""
        yield f"{count(design['n_samples'], 'sample')} of '{design['samples']}'{of_conditions}{blocks}"
    yield "; ".join(filter(None, (_relation_in_words(found, keys) for found in design["relations"])))
    if named := design["candidates"]:
        yield (
            f"{listed([f"'{name}'" for name in named[:MOST_NAMED]])} {'crosses' if len(named) == 1 else 'cross'} the "
            f"conditions as well: block_key={named[0]} would compare within it"
        )


def _relation_in_words(found: Mapping[str, Any], keys: Keys) -> str:
    first, second = found["first"], found["second"]
    is_crossed = found["relation"] in ("crossed", "partly crossed")
    if {first, second} & {keys.label_key if is_crossed else keys.sample_key}:
        return ""
    if found["relation"] == "confounded":
        return f"'{first}' and '{second}' are confounded: each value of one has one of the other"
    if not is_crossed:
        inner, outer = (first, second) if found["relation"] == "nested" else (second, first)
        return f"'{inner}' is nested in '{outer}'"
    span = "" if found["fewest"] == found["most"] else f"{found['fewest']} to "
    n = count(found["most"], "sample" if keys.sample_key else "cell")
    return f"'{first}' and '{second}' are {found['relation']}, {span}{n} a combination"


def _unanswered(design: Mapping[str, Any], keys: Keys) -> Iterator[str]:
    """What no test over samples can answer, whatever the batches."""
    single = [name for name, n in design["conditions"].items() if n == 1]
    if single and len(design["conditions"]) > 1:
        yield (
            f"condition_key '{keys.condition_key}' has one sample of {quoted(single, MOST_NAMED)}: no test over "
            "samples can tell what the condition changes from what that sample is"
        )


def block_of(design: Mapping[str, Any] | None, keys: Replicates) -> str | None:
    """The block within which samples are compared: the user's, or that of :func:`describe_design`."""
    found = (design or {}).get("block") if keys.block_key is None else keys.block_key
    return found or None if keys.sample_key else None


def comparison_sentence(design: Mapping[str, Any], keys: Replicates) -> str:
    """Within what conditions are compared, and why; empty where they are not compared on samples."""
    if len(design["conditions"]) < 2:
        return ""
    if block := block_of(design, keys):
        found = 'found in the data; block_key: "" switches it off'
        return f"conditions are compared within '{block}' ({'by block_key' if keys.block_key else found})"
    why = "nothing pairs samples up" if keys.block_key is None else "block_key is empty"
    return f"conditions are compared without blocks, as {why}"
