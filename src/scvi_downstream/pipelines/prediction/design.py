"""Which cells are kept out of training, so that nothing is scored that a model has seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.conditions import reference_condition
from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters import UNKNOWN, Keys
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.pipelines.prediction.weights import first_half

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
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
