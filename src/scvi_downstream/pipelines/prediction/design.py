"""Which cells are kept out of training, so that nothing is scored that a model has seen, and how they are grouped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import reference_condition
from scvi_downstream.cells.samples import find_samples
from scvi_downstream.pipelines.prediction.comparison import (
    Blocks,
    Decoded,
    Group,
    TrainingMeans,
    first_half,
    log_mean,
    pair_means,
    shares_of,
)
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, quoted, up_to
from scvi_downstream.scoring.resampling import sample_cells
from scvi_downstream.statistics.designs import SampleColumn, condition_column
from scvi_downstream.statistics.pseudobulk import test_cells

logger = logging.getLogger(__name__)

type Decoder = Callable[[pd.Index, str, str], Decoded]
"""A fitted model that decodes cells, by name, as of a source and of a target condition."""
HeldOut = Literal["paired samples", "samples", "cell types"]
ALL_CELLS = "all cells"
ALL_BLOCKS = "all"
"""Name of the one block where source and target cells are of different samples."""
TRAINING, INPUT, REFERENCE, HELD_OUT = "training", "input", "reference", "held_out"
UNSEEN = (REFERENCE, HELD_OUT)
"""Roles of the cells that no model may see."""


class NothingToPredictError(InputError):
    """The study holds nothing that a prediction could be scored with."""


@dataclass(frozen=True)
class Conditions:
    """The condition that cells are taken from, and those that they are predicted in."""

    source: str
    targets: tuple[str, ...]


def hold_out_cells(
    counts: AnnData, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Which cells are trained on, predicted from and held out, as :func:`hold_out` tells it.

    Where the study holds nothing to predict and the user named no condition, all cells are ``training`` and the facts
    have a ``reason`` instead: the rest of the study goes on.

    Raises
    ------
    InputError
        A column or a condition that does not exist, or conditions named that cannot be predicted.
    """
    try:
        split, design = hold_out(counts, keys, options, seed)
        _require_groups(split, design, options)
    except NothingToPredictError as error:
        if options.source or options.target:
            raise
        logger.warning("prediction is left out: %s", error)
        roles = dict.fromkeys(("condition", "group", "sample", "block"), "") | {"role": TRAINING}
        split = pd.DataFrame(roles, index=counts.obs_names.rename("cell"), dtype="category")
        design = {"reason": str(error)}
    return split, design


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
    counts, keys
        Raw counts with the study's obs columns; ``condition_key``, ``sample_key`` and ``label_key``.
    options, seed
        Conditions and sizes; of the draw of samples.

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
    cells = _name_cells(counts.obs, keys)
    conditions = choose_conditions(counts.obs[keys.condition_key], options, keys.condition_key)
    found = _hold_out_samples(cells, conditions, keys, options, seed)
    found = found or _hold_out_types(cells, conditions, options)
    if found is None:
        raise NothingToPredictError(_why_nothing_held_out(keys, conditions, options))
    kind, held, names = found
    whole = "group" if kind == "cell types" else "sample"
    sources = (cells["condition"] == conditions.source) & cells[whole].isin(names)
    strata = pd.factorize(cells["group"] + " " + cells["sample"])[0]
    inputs = sources.copy()
    inputs[sources] = first_half(strata[sources], np.random.default_rng(seed))
    split = cells.assign(
        block=cells["sample"] if kind == "paired samples" else ALL_BLOCKS,
        role=np.select([held, inputs, sources], [HELD_OUT, INPUT, REFERENCE], TRAINING),
    ).astype("category")
    sizes = split["role"].value_counts()
    facts = {
        "source": conditions.source,
        "targets": list(conditions.targets),
        "held_out": kind,
        "held_out_names": names,
        "n_training": int((~split["role"].isin(UNSEEN)).sum()),
        **{f"n_{role}": int(sizes.get(role, 0)) for role in (INPUT, REFERENCE, HELD_OUT)},
        "description": _describe(kind, names, conditions, keys),
    }
    logger.info("prediction: %s", facts["description"])
    return split.rename_axis("cell"), facts


def _name_cells(obs: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    for name in ("condition_key", "sample_key", "label_key"):
        key = getattr(keys, name)
        if key and key not in obs:
            raise InputError(f"{name} '{key}' is not in obs{closest(key, obs.columns)}")
    samples = obs[keys.sample_key].astype(object) if keys.sample_key else ALL_BLOCKS
    texts = {
        "condition": obs[keys.condition_key].astype(object),
        "group": obs[keys.label_key].astype(object) if keys.label_key else ALL_CELLS,
        "block": samples,
        "sample": samples,
    }
    return pd.DataFrame(texts, index=obs.index).fillna(UNKNOWN).astype(str)


def _hold_out_samples(
    cells: pd.DataFrame, conditions: Conditions, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[HeldOut, pd.Series, list[str]] | None:
    """Target cells of a share of the samples; ``None`` where fewer than two samples have any."""
    if not keys.sample_key:
        return None
    in_target = cells["condition"].isin(conditions.targets)
    named = cells[cells["sample"] != UNKNOWN]
    samples = {name: set(found) for name, found in named.groupby("condition")["sample"]}
    from_source = sorted(samples.get(conditions.source, ()))
    of_targets = [sorted(samples.get(target, ())) for target in conditions.targets]
    paired = sorted(set().union(*of_targets).intersection(from_source))
    rng = np.random.default_rng(seed)
    if len(paired) >= 2:
        names = _share_of(paired, options.held_out_share, rng)
        return "paired samples", in_target & cells["sample"].isin(names), sorted(names)
    names = []
    for of_target in of_targets:
        if len(of_target) >= 2:
            names += _share_of(of_target, options.held_out_share, rng)
    if names and from_source:
        names += _share_of(from_source, options.held_out_share, rng) if len(from_source) >= 2 else from_source
        return "samples", in_target & cells["sample"].isin(names), sorted(set(names))
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
    cells: pd.DataFrame, conditions: Conditions, options: PredictionOptions
) -> tuple[HeldOut, pd.Series, list[str]] | None:
    """Target cells of the most abundant types; ``None`` where no other type would be left to learn from."""
    known = cells[cells["group"] != UNKNOWN]
    sizes = pd.crosstab(known["group"], known["condition"])
    sizes = sizes.reindex(columns=[conditions.source, *conditions.targets], fill_value=0)
    targets, least = sizes[list(conditions.targets)], options.min_cells
    enough = sizes[(sizes[conditions.source] >= least) & (targets >= least).any(axis=1)]
    learnable = int((targets.sum(axis=1) >= least).sum())
    n = min(options.max_groups, len(enough), learnable - 1)
    if n < 1:
        return None
    order = enough.sum(axis=1).sort_values(ascending=False, kind="stable")
    names = [str(name) for name in order.index[:n]]
    held = cells["condition"].isin(conditions.targets) & cells["group"].isin(names)
    return "cell types", held, names


def _why_nothing_held_out(keys: Keys, conditions: Conditions, options: PredictionOptions) -> str:
    targets = quoted(conditions.targets, len(conditions.targets))
    samples, types = "sample_key is empty", "label_key is empty"
    if keys.sample_key:
        samples = f"fewer than 2 samples of '{keys.sample_key}' hold cells of {targets}"
    if keys.label_key:
        types = (
            f"fewer than 2 types of '{keys.label_key}' have {options.min_cells} cells (prediction.min_cells) of "
            f"'{conditions.source}' and {targets}"
        )
    return (
        f"nothing can be held out to score a prediction from '{conditions.source}' to {targets}: {samples}, and "
        f"{types}; name the column of donors or of cell types"
    )


def _describe(kind: HeldOut, names: list[str], conditions: Conditions, keys: Keys) -> str:
    targets = " and ".join(f"'{name}'" for name in conditions.targets)
    shown = up_to(names, 6)
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


def choose_conditions(values: pd.Series, options: PredictionOptions, column: str) -> Conditions:
    """The source and the targets: named by the user, or the control and the most frequent others.

    ``values`` are the condition of each cell, of which ``unknown`` and missing ones do not count; ``column`` is the obs
    column, for messages.

    Raises
    ------
    InputError
        A name that is no condition.
    NothingToPredictError
        Fewer than two conditions.
    """
    named = values.astype(object)[values.notna() & (values.astype(object) != UNKNOWN)]
    sizes = named.value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    known = [str(name) for name in sizes.index]
    targets = tuple(dict.fromkeys(options.target or ()))
    if len(known) < 2:
        raise NothingToPredictError(
            f"condition_key '{column}' holds {count(len(known), 'condition')} "
            f"({', '.join(known) or 'none'}), and a prediction goes from one to another; name a column with at least 2"
        )
    asked = [("prediction.source", options.source)] if options.source else []
    asked += [("prediction.target", name) for name in targets]
    for parameter, name in asked:
        if name not in known:
            raise InputError(
                f"{parameter} '{name}' is not a condition of obs column '{column}'{closest(str(name), known)}"
            )
    others = [name for name in known if name not in targets]
    if options.source is None and not others:
        raise InputError(
            f"prediction.target names every condition of '{column}'; leave one out as the source"
        )
    source = options.source or reference_condition(others)
    if source in targets:
        raise InputError(f"prediction.source and prediction.target are both '{source}'; name two conditions")
    if targets:
        return Conditions(source, targets)
    others.remove(source)
    if len(others) > options.max_targets:
        logger.info(
            "prediction: the %d most frequent of %d conditions are predicted (prediction.max_targets)",
            options.max_targets, len(others),
        )  # fmt: skip
    return Conditions(source, tuple(others[: options.max_targets]))


def block_names(split: pd.DataFrame) -> list[str]:
    """Blocks that hold held-out cells, in the order of their codes."""
    return sorted(set(split.loc[split["role"] == HELD_OUT, "block"].astype(str)))


def _require_groups(split: pd.DataFrame, design: Mapping[str, Any], options: PredictionOptions) -> None:
    """Refuse before anything is trained what would leave no cell type with ``min_cells`` comparable cells."""
    blocks, n_blocks = _block_codes(split)
    largest = (0, 0)
    for _, _, positions in _candidate_groups(split, design):
        largest = max(largest, _comparable_cells([blocks[each] for each in positions], n_blocks), key=min)
    if min(largest) < options.min_cells:
        raise NothingToPredictError(
            f"no cell type has {options.min_cells} held-out cells of the target and as many of '{design['source']}' in "
            f"the same samples (at most {largest[1]} and {largest[0]}); lower prediction.min_cells or bring more cells"
        )


def find_groups(
    counts: AnnData,
    split: pd.DataFrame,
    design: Mapping[str, Any],
    decoders: Mapping[str, Decoder],
    keys: Replicates,
    options: PredictionOptions,
    seed: int,
) -> Iterator[Group]:
    """Groups with at least ``min_cells`` held-out cells of the target and as many of the source to predict from.

    The genes in ``highly_variable`` are compared. Of groups with more than ``max_cells`` cells of a condition a sample
    is drawn; ``split`` and ``design`` are those of :func:`hold_out`, ``decoders`` the fitted models by name.
    """
    split = split.loc[counts.obs_names]
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    blocks, n_blocks = _block_codes(split)
    shares = shares_of(counts.X[:, genes])
    source = str(design["source"])
    column = condition_column(counts.obs, find_samples(counts.obs, keys), keys)
    limits = (options.max_cells // 2, options.max_cells // 2, options.max_cells)
    rng = np.random.default_rng(seed)
    for target, name, found in _candidate_groups(split, design):
        positions = [sample_cells(cells, most, rng) for cells, most in zip(found, limits, strict=True)]
        inputs, reference, held_out = positions
        if not len(held_out):
            continue
        codes = [blocks[each] for each in positions]
        n_source, n_target = _comparable_cells(codes, n_blocks)
        if min(n_source, n_target) < options.min_cells:
            logger.info(
                "prediction: '%s' is left out in '%s': %d source and %d held-out cells in the same samples, of %d "
                "(prediction.min_cells)",
                name, target, n_source, n_target, options.min_cells,
            )  # fmt: skip
            continue
        cells, of_type = counts.obs_names[inputs], (split["group"] == name).to_numpy()
        yield Group(
            source=shares[inputs],
            reference=shares[reference],
            target=shares[held_out],
            blocks=Blocks(codes[0], codes[1], codes[2], n_blocks),
            training=_training_means(shares, split, blocks, source, target, name, options.min_cells),
            decoded={model: each(cells, source, target) for model, each in decoders.items()},
            condition=target,
            name=name,
            p_adjusted=change_of_samples(counts, of_type, (source, target), genes, column),
        )


def change_of_samples(
    counts: AnnData,
    cells: np.ndarray,
    conditions: tuple[str, str],
    genes: np.ndarray,
    column: SampleColumn | None,
) -> np.ndarray | None:
    """Adjusted p-values of the genes at these positions; NaN where there are too few samples or counts."""
    if column is None:
        return None
    tests = test_cells(counts, column, cells)
    names = [" vs ".join(pair) for pair in permutations(conditions)]
    found = [tests[name] for name in names if name in tests]
    if not found:
        return np.full(len(genes), np.nan)
    return found[0].set_index("gene")["p_adjusted"].reindex(counts.var_names[genes]).to_numpy()


def _block_codes(split: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Code of each cell's block, those of held-out cells before those of training cells alone; number of the former."""
    names = block_names(split)
    blocks = split["block"].astype(str)
    others = sorted(set(blocks) - set(names))
    return pd.Index([*names, *others]).get_indexer(blocks), len(names)


def _candidate_groups(
    split: pd.DataFrame, design: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """Each target and type, with positions of the cells that predictions start from, of the reference, held out."""
    types = sorted(set(split["group"].astype(str)) - {UNKNOWN})
    for target, name in product(design["targets"], types):
        of_type = split["group"] == name
        kinds = ((INPUT, design["source"]), (REFERENCE, design["source"]), (HELD_OUT, target))
        positions = [
            np.flatnonzero(of_type & (split["role"] == role) & (split["condition"] == condition))
            for role, condition in kinds
        ]
        yield target, name, positions


def _training_means(
    shares: sparse.csr_matrix,
    split: pd.DataFrame,
    blocks: np.ndarray,
    source: str,
    target: str,
    name: str,
    min_cells: int,
) -> TrainingMeans:
    """Changes within samples where training samples hold both conditions, pooled ones within types, too."""
    types = split["group"].astype(str).to_numpy()
    trained = (split["role"] == TRAINING).to_numpy()
    strata = pd.factorize(pd.Series(blocks).astype(str) + " " + types)[0]
    conditions = [(split["condition"] == condition).to_numpy() for condition in (source, target)]

    def mean_change(chosen: np.ndarray) -> np.ndarray | None:
        before, after = (np.flatnonzero(chosen & condition) for condition in conditions)
        n_strata = strata.max() + 1
        sizes = np.array([np.bincount(strata[each], minlength=n_strata) for each in (before, after)])
        shared = (sizes > 0).all(axis=0)
        if min(sizes[:, shared].sum(axis=1), default=0) < min_cells:
            return None
        cells, blocks_of = (shares[before], shares[after]), (strata[before], strata[after])
        source_mean, target_mean = pair_means(cells, blocks_of, n_strata)
        return target_mean - source_mean

    everything = mean_change(trained & (types != UNKNOWN))
    own = mean_change(trained & (types == name))
    in_target = np.flatnonzero(trained & conditions[1] & (types == name))
    enough = len(in_target) >= min_cells
    mean = log_mean(np.asarray(shares[in_target].mean(axis=0)).ravel()) if enough else None
    if own is None:
        return TrainingMeans(shift=everything, target=mean)
    return TrainingMeans(shift=own, pooled_shift=everything, target=mean)


def _comparable_cells(codes: list[np.ndarray], n_blocks: int) -> tuple[int, int]:
    """Source and target cells in blocks that hold both kinds of source cells and two target cells, to be halved."""
    source, reference, target = (np.bincount(each, minlength=n_blocks) for each in codes)
    shared = (source > 0) & (reference > 0) & (target > 1)
    return int((source + reference)[shared].sum()), int(target[shared].sum())
