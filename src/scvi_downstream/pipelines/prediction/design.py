"""Which cells are kept out of training, so that nothing is scored that a model has seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import reference_condition
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Code of the block (sample) of each cell.

    Attributes
    ----------
    source
        Cells that predictions start from.
    reference
        Cells of the source condition that the change is measured from, others than these.
    target
        Held-out cells.
    n
        Number of blocks.
    """

    source: np.ndarray
    reference: np.ndarray
    target: np.ndarray
    n: int


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights ``(n_replicates, n_cells)`` of the cells of each kind; each row adds up to one, or is NaN."""

    source: np.ndarray
    reference: np.ndarray
    target: np.ndarray


def difference_weights(sizes: np.ndarray, n_of_source: int) -> np.ndarray:
    """Weight of each block: ``n_s n_t / (n_s + n_t)``, the inverse of the variance of its difference.

    Parameters
    ----------
    sizes
        ``(n_parts, n_blocks)`` cells; a block without cells in a part weighs nothing.
    n_of_source
        How many of the parts, the first ones, are of the source condition.

    Returns
    -------
    ``(n_blocks,)``, not scaled.
    """
    source, target = sizes[:n_of_source].sum(axis=0), sizes[n_of_source:].sum(axis=0)
    both = np.maximum(source + target, 1)
    return source * target / both * (sizes > 0).all(axis=0)


def pair_weights(source: np.ndarray, target: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the cells of two conditions, blocks weighted alike in both.

    The difference of the weighted means is the coefficient of the condition in a linear model with blocks.

    Parameters
    ----------
    source, target
        Code of the block of each cell.
    n_blocks
        Number of blocks.
    """
    rows = _weigh([source], [target], np.ones(n_blocks))
    return rows[0], rows[1]


def whole_weights(blocks: Blocks) -> Weights:
    """One replicate: every cell once."""
    rows = _weigh([blocks.source, blocks.reference], [blocks.target], np.ones(blocks.n))
    return Weights(*(row[None] for row in rows))


def bootstrap_weights(blocks: Blocks, times: np.ndarray, rng: np.random.Generator) -> Weights:
    """Cells drawn with replacement within blocks.

    Parameters
    ----------
    blocks
        Of the cells.
    times
        ``(n_replicates, n_blocks)`` weight of each block beside the one that follows from its size.
    rng
        Draws the cells.
    """
    parts = [blocks.source, blocks.reference, blocks.target]
    replicates = []
    for each in times:
        drawn = [_resample(codes, rng) for codes in parts]
        replicates.append(_weigh(parts[:2], parts[2:], each, drawn))
    return Weights(*(np.array(rows) for rows in zip(*replicates, strict=True)))


def halved_weights(
    blocks: Blocks, times: np.ndarray, rng: np.random.Generator, *, resampled: np.ndarray
) -> tuple[Weights, Weights]:
    """The target cells in random halves, in both directions: rows ``2 r`` and ``2 r + 1``.

    Where cells are resampled, they are within each half, so that no cell is in both.

    Parameters
    ----------
    blocks
        Of the cells.
    times
        ``(n_replicates, n_blocks)`` weight of each block beside the one that follows from its size.
    rng
        Draws halves and cells.
    resampled
        ``(n_replicates,)`` whether cells are drawn with replacement.
    """
    sources, references, one, other = [], [], [], []
    for each, again in zip(times, resampled, strict=True):
        chosen = first_half(blocks.target, rng)
        parts = [
            blocks.source,
            blocks.reference,
            np.where(chosen, blocks.target, -1),
            np.where(chosen, -1, blocks.target),
        ]
        drawn = [_resample(codes, rng) for codes in parts] if again else None
        source, reference, first, second = _weigh(parts[:2], parts[2:], each, drawn)
        sources += [source, source]
        references += [reference, reference]
        one += [first, second]
        other += [second, first]
    shared = np.array(sources), np.array(references)
    return Weights(*shared, np.array(one)), Weights(*shared, np.array(other))


def first_half(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each cell is in a random half of the cells of its block; the odd one goes either way.

    Parameters
    ----------
    blocks
        Code of the block of each cell.
    rng
        Draws the half.
    """
    order = np.lexsort((rng.random(len(blocks)), blocks))
    position = np.empty(len(blocks), dtype=np.intp)
    position[order] = np.arange(len(blocks))
    starts = np.searchsorted(blocks[order], blocks)
    offset = rng.integers(0, 2, blocks.max(initial=0) + 1)[blocks]
    return (position - starts + offset) % 2 == 0


def _resample(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each cell is drawn, as many of each block as it has; cells with a negative code are not there."""
    order = np.argsort(blocks, kind="stable")
    ordered = blocks[order]
    starts = np.searchsorted(ordered, ordered)
    sizes = np.searchsorted(ordered, ordered, side="right") - starts
    chosen = starts + np.floor(rng.random(len(blocks)) * sizes).astype(np.intp)
    times = np.bincount(order[chosen], minlength=len(blocks)).astype(np.float64)
    return np.where(blocks >= 0, times, 0.0)


def _weigh(
    source: list[np.ndarray],
    target: list[np.ndarray],
    times: np.ndarray,
    drawn: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Weights of the cells of every part, all with the same weights of blocks."""
    parts = [*source, *target]
    sizes = np.array([np.bincount(codes[codes >= 0], minlength=len(times)) for codes in parts])
    of_block = difference_weights(sizes, len(source)) * times
    total = of_block.sum()
    of_block = of_block / total if total > 0 else np.full(len(times), np.nan)
    rows = []
    for i, codes in enumerate(parts):
        per_cell = of_block / np.maximum(sizes[i], 1)
        weights = np.where(codes >= 0, per_cell[np.maximum(codes, 0)], 0.0)
        rows.append(weights if drawn is None else weights * drawn[i])
    return rows


HeldOut = Literal["paired samples", "samples", "cell types"]
ALL_CELLS = "all cells"
TRAINING, INPUT, REFERENCE, HELD_OUT = "training", "input", "reference", "held_out"
UNSEEN = (REFERENCE, HELD_OUT)


class NothingToPredictError(InputError):
    """The study holds nothing that a prediction could be scored with."""


@dataclass(frozen=True)
class Conditions:
    """The condition that cells are taken from, and those that they are predicted in."""

    source: str
    targets: tuple[str, ...]


def choose_conditions(values: pd.Series, options: PredictionOptions, column: str) -> Conditions:
    """The source and the targets: named by the user, or the control and the most frequent others.

    Parameters
    ----------
    values
        Condition of each cell; ``unknown`` and missing ones do not count.
    options
        ``source``, ``target``, ``max_targets``.
    column
        Name of the obs column, for messages.

    Raises
    ------
    InputError
        A name that is no condition.
    NothingToPredictError
        Fewer than two conditions.
    """
    sizes = values.astype(object)[values.notna() & (values.astype(object) != UNKNOWN)].value_counts(
        sort=False
    )
    sizes = sizes.sort_index().sort_values(ascending=False, kind="stable")
    known = [str(name) for name in sizes.index]
    if len(known) < 2:
        raise NothingToPredictError(
            f"condition_key '{column}' holds {len(known)} condition{'' if len(known) == 1 else 's'} "
            f"({', '.join(known) or 'none'}), and a prediction goes from one to another; name a column with at least 2"
        )
    asked = [("prediction.source", options.source)] if options.source else []
    asked += [("prediction.target", name) for name in options.target or ()]
    for parameter, name in asked:
        if name not in known:
            raise InputError(
                f"{parameter} '{name}' is not a condition of obs column '{column}'{closest(str(name), known)}"
            )
    others = [name for name in known if name not in (options.target or ())]
    if options.source is None and not others:
        raise InputError(
            f"prediction.target names every condition of '{column}'; leave one out as the source"
        )
    source = options.source or reference_condition(others)
    if source in (options.target or ()):
        raise InputError(f"prediction.source and prediction.target are both '{source}'; name two conditions")
    if options.target:
        return Conditions(source, tuple(dict.fromkeys(options.target)))
    targets = [name for name in known if name != source]
    if len(targets) > options.max_targets:
        logger.info(
            "prediction: the %d most frequent of %d conditions are predicted (prediction.max_targets)",
            options.max_targets,
            len(targets),
        )
    return Conditions(source, tuple(targets[: options.max_targets]))


def hold_out(
    counts: AnnData, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Give every cell its role.

    With samples, the cells of the target conditions of a share of the samples are held out, of all types; a sample
    with cells of source and target is preferred, as its own source cells are then what the prediction starts from.
    Otherwise the cells of the target conditions of the most abundant types are, so that a response is predicted
    in a type in which the model has seen none, as Lotfollahi et al. (2019), doi:10.1038/s41592-019-0494-8.

    Parameters
    ----------
    counts
        Raw counts with the study's obs columns.
    keys
        ``condition_key``, ``sample_key`` and ``label_key``.
    options
        Conditions and sizes.
    seed
        Of the draw of samples.

    Returns
    -------
    One row a cell: ``condition``, ``group`` (type), ``sample``, ``block`` (the sample where its source and target
    cells are compared with one another, otherwise one name for all) and ``role``: ``held_out`` (target, measured,
    unseen), ``reference`` (a random half of the held-out samples' or types' source cells, from which the change is
    measured, unseen as well: a model that saw them would know their noise), ``input`` (the other half, which
    predictions start from and models see) or ``training``. And facts of the design.

    Raises
    ------
    InputError
        No ``condition_key``, or a name that is not in obs.
    NothingToPredictError
        One condition only, or nothing that can be held out.
    """
    if keys.condition_key is None:
        raise InputError("condition_key is empty, so there is no condition to predict; name an obs column")
    cells = _cells(counts.obs, keys)
    conditions = choose_conditions(counts.obs[keys.condition_key], options, keys.condition_key)
    for attempt in (_hold_out_samples, _hold_out_types):
        found = attempt(cells, conditions, keys, options, seed)
        if found is not None:
            break
    else:
        raise NothingToPredictError(_nothing_to_hold_out(keys, conditions, options))
    kind, held, names = found
    of = "group" if kind == "cell types" else "block"
    sources = (cells["condition"] == conditions.source) & cells[of].isin(names)
    strata = pd.factorize(cells["group"] + " " + cells["block"])[0]
    inputs = sources & _half(sources.to_numpy(), strata, np.random.default_rng(seed))
    cells["sample"] = cells["block"]
    if kind != "paired samples":
        cells["block"] = "all"
    role = np.select([held, inputs, sources], [HELD_OUT, INPUT, REFERENCE], TRAINING)
    split = cells.assign(role=role).astype(
        dict.fromkeys(("condition", "group", "sample", "block", "role"), "category")
    )
    facts = {
        "source": conditions.source,
        "targets": list(conditions.targets),
        "held_out": kind,
        "held_out_names": names,
        "n_training": int((~held & ~(sources & ~inputs)).sum()),
        "n_input": int(inputs.sum()),
        "n_reference": int((sources & ~inputs).sum()),
        "n_held_out": int(held.sum()),
        "description": _described(kind, names, conditions, keys),
    }
    logger.info("prediction: %s", facts["description"])
    return split.rename_axis("cell"), facts


def _half(chosen: np.ndarray, strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random half of the chosen cells of every sample and type."""
    half = np.zeros(len(chosen), dtype=bool)
    half[chosen] = first_half(strata[chosen], rng)
    return half


def _cells(obs: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    for name in ("condition_key", "sample_key", "label_key"):
        key = getattr(keys, name)
        if key and key not in obs:
            raise InputError(f"{name} '{key}' is not in obs{closest(key, obs.columns)}")
    texts = {
        "condition": obs[keys.condition_key].astype(object),
        "group": obs[keys.label_key].astype(object) if keys.label_key else ALL_CELLS,
        "block": obs[keys.sample_key].astype(object) if keys.sample_key else "all",
    }
    return pd.DataFrame(texts, index=obs.index).fillna(UNKNOWN).astype(str)


def _hold_out_samples(
    cells: pd.DataFrame, conditions: Conditions, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[HeldOut, pd.Series, list[str]] | None:
    """Target cells of a share of the samples; ``None`` where fewer than two samples have any."""
    if not keys.sample_key:
        return None
    in_target = cells["condition"].isin(conditions.targets)
    named = cells["block"] != UNKNOWN
    with_target = set(cells.loc[in_target & named, "block"])
    with_source = set(cells.loc[(cells["condition"] == conditions.source) & named, "block"])
    paired = sorted(with_target & with_source)
    rng = np.random.default_rng(seed)
    if len(paired) >= 2:
        names = _share_of(paired, options.held_out_share, rng)
        return "paired samples", in_target & cells["block"].isin(names), sorted(names)
    names = []
    for target in conditions.targets:
        of_target = sorted(set(cells.loc[(cells["condition"] == target) & named, "block"]))
        if len(of_target) >= 2:
            names += _share_of(of_target, options.held_out_share, rng)
    if names and with_source:
        from_source = sorted(with_source)
        names += _share_of(from_source, options.held_out_share, rng) if len(from_source) >= 2 else from_source
        return "samples", in_target & cells["block"].isin(names), sorted(set(names))
    logger.warning(
        "prediction: fewer than 2 samples of '%s' hold cells of %s, so whole cell types are held out instead",
        keys.sample_key,
        " or ".join(conditions.targets),
    )
    return None


def _share_of(names: list[str], share: float, rng: np.random.Generator) -> list[str]:
    n = min(max(round(share * len(names)), 1), len(names) - 1)
    return [names[i] for i in rng.permutation(len(names))[:n]]


def _hold_out_types(
    cells: pd.DataFrame, conditions: Conditions, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[HeldOut, pd.Series, list[str]] | None:
    """Target cells of the most abundant types; ``None`` where no other type would be left to learn from."""
    del seed  # nothing is drawn
    known = cells[cells["group"] != UNKNOWN]
    sizes = pd.crosstab(known["group"], known["condition"]).reindex(
        columns=[conditions.source, *conditions.targets], fill_value=0
    )
    enough = sizes[(sizes[conditions.source] >= options.min_cells)]
    enough = enough[(enough[list(conditions.targets)] >= options.min_cells).any(axis=1)]
    learnable = int((sizes[list(conditions.targets)].sum(axis=1) >= options.min_cells).sum())
    n = min(options.max_groups, len(enough), learnable - 1)
    if n < 1:
        return None
    order = enough.sum(axis=1).sort_values(ascending=False, kind="stable")
    names = [str(name) for name in order.index[:n]]
    held = cells["condition"].isin(conditions.targets) & cells["group"].isin(names)
    return "cell types", held, names


def _nothing_to_hold_out(keys: Keys, conditions: Conditions, options: PredictionOptions) -> str:
    targets = ", ".join(f"'{name}'" for name in conditions.targets)
    samples = (
        f"fewer than 2 samples of '{keys.sample_key}' hold cells of {targets}"
        if keys.sample_key
        else ("sample_key is empty")
    )
    types = (
        f"fewer than 2 types of '{keys.label_key}' have {options.min_cells} cells (prediction.min_cells) of "
        f"'{conditions.source}' and {targets}"
        if keys.label_key
        else "label_key is empty"
    )
    return (
        f"nothing can be held out to score a prediction from '{conditions.source}' to {targets}: {samples}, and "
        f"{types}; name the column of donors or of cell types"
    )


def _described(kind: HeldOut, names: list[str], conditions: Conditions, keys: Keys) -> str:
    targets = " and ".join(f"'{name}'" for name in conditions.targets)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    if kind == "paired samples":
        return (
            f"The cells in {targets} of {len(names)} samples of '{keys.sample_key}' ({shown}) were kept out of "
            f"training and are predicted from one half of the same samples' '{conditions.source}' cells, which the "
            "models have seen; the change is measured from the other half, which they have not"
        )
    if kind == "samples":
        return (
            f"Of {len(names)} samples of '{keys.sample_key}' ({shown}), the cells in {targets} were kept out of "
            f"training and are predicted from one half of the '{conditions.source}' cells, which the models have "
            "seen; the change is measured from the other half, which they have not. No two samples hold both "
            "conditions, so differences between samples count as errors of the prediction"
        )
    return (
        f"The cells in {targets} of {len(names)} types of '{keys.label_key}' ({shown}) were kept out of training, so "
        f"their response is predicted from one half of their '{conditions.source}' cells and other types' responses; "
        "the change is measured from the other half, which the models have not seen either"
    )
