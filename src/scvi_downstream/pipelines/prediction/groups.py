"""Held-out cells by target condition and type, with what the training cells of the same kind look like."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.prediction.comparison import (
    Decoded,
    Group,
    TrainingMeans,
    log_mean,
    pair_means,
    shares_of,
)
from scvi_downstream.pipelines.prediction.design import (
    HELD_OUT,
    INPUT,
    REFERENCE,
    TRAINING,
    Blocks,
    NothingToPredictError,
    pair_weights,
)
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.options import UNKNOWN

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


class Decoder(Protocol):
    """A fitted model that decodes cells, by name, as of a source and of a target condition."""

    def decode(self, cells: pd.Index, source: str, target: str) -> Decoded:
        """Shares of the modelled genes, for both conditions."""


@dataclass(frozen=True, eq=False)
class NamedGroup:
    """A group and what it is called."""

    target: str
    name: str
    cells: Group


@dataclass(frozen=True, eq=False)
class _Cells:
    """All cells' shares, and their split."""

    shares: sparse.csr_matrix
    split: pd.DataFrame
    blocks: np.ndarray

    def where(self, role: str, condition: str, group: str) -> np.ndarray:
        """Positions of cells."""
        table = self.split
        return np.flatnonzero(
            (
                (table["role"] == role) & (table["condition"] == condition) & (table["group"] == group)
            ).to_numpy()
        )


def block_names(split: pd.DataFrame) -> list[str]:
    """Blocks that hold held-out cells, in the order of their codes."""
    return sorted(set(split.loc[split["role"] == HELD_OUT, "block"].astype(str)))


def require_groups(split: pd.DataFrame, design: Mapping[str, Any], options: PredictionOptions) -> None:
    """Refuse before anything is trained what would leave no group to compare.

    Raises
    ------
    NothingToPredictError
        When no cell type has ``min_cells`` source and held-out cells in the same samples.
    """
    names = block_names(split)
    largest = (0, 0)
    for target in design["targets"]:
        of_roles = (INPUT, design["source"]), (REFERENCE, design["source"]), (HELD_OUT, target)
        for name in _known(split["group"]):
            rows = split[split["group"].astype(str) == name]
            codes = [
                pd.Index(names).get_indexer(
                    rows.loc[(rows["role"] == role) & (rows["condition"] == condition), "block"].astype(str)
                )
                for role, condition in of_roles
            ]
            largest = max(largest, _comparable(codes, len(names)), key=min)
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
    options: PredictionOptions,
    seed: int,
) -> Iterator[NamedGroup]:
    """Groups with at least ``min_cells`` held-out cells of the target and as many of the source to predict from.

    Parameters
    ----------
    counts
        Raw counts; the genes in ``highly_variable`` are compared.
    split, design
        Of :func:`.design.hold_out`.
    decoders
        Fitted models by name.
    options
        ``min_cells`` and ``max_cells``, of each condition in a group; more are sampled.
    seed
        Of the sample.
    """
    split = split.loc[counts.obs_names]
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    names = block_names(split)
    # training cells have codes of their own, after those of the held-out blocks
    others = sorted(set(split["block"].astype(str)) - set(names))
    blocks = pd.Index([*names, *others]).get_indexer(split["block"].astype(str))
    cells = _Cells(shares_of(counts.X[:, genes]), split, blocks)
    source = str(design["source"])
    rng = np.random.default_rng(seed)
    for target in design["targets"]:
        for name in _known(split["group"]):
            positions = [
                _sampled(cells.where(role, condition, name), most, rng)
                for role, condition, most in (
                    (INPUT, source, options.max_cells // 2),
                    (REFERENCE, source, options.max_cells // 2),
                    (HELD_OUT, target, options.max_cells),
                )
            ]
            if not len(positions[2]):
                continue
            codes = [blocks[each] for each in positions]
            n_source, n_target = _comparable(codes, len(names))
            if min(n_source, n_target) < options.min_cells:
                logger.info(
                    "prediction: '%s' is left out in '%s': %d source and %d held-out cells in the same samples, of %d "
                    "(prediction.min_cells)",
                    name, target, n_source, n_target, options.min_cells,
                )  # fmt: skip
                continue
            decoded = {
                model: decoder.decode(counts.obs_names[positions[0]], source, target)
                for model, decoder in decoders.items()
            }
            group = Group(
                source=cells.shares[positions[0]],
                reference=cells.shares[positions[1]],
                target=cells.shares[positions[2]],
                blocks=Blocks(codes[0], codes[1], codes[2], len(names)),
                training=_training_means(cells, source, target, name, options.min_cells),
                decoded=decoded,
            )
            yield NamedGroup(target, name, group)


def _training_means(cells: _Cells, source: str, target: str, name: str, min_cells: int) -> TrainingMeans:
    """Changes within samples where training samples hold both conditions, pooled ones within types, too."""
    types = cells.split["group"].astype(str).to_numpy()
    everything = _training_change(cells, source, target, types != UNKNOWN, min_cells)
    own = _training_change(cells, source, target, types == name, min_cells)
    trained = cells.where(TRAINING, target, name)
    enough = len(trained) >= min_cells
    mean = log_mean(np.asarray(cells.shares[trained].mean(axis=0)).ravel()) if enough else None
    if own is None:
        return TrainingMeans(shift=everything, target=mean)
    return TrainingMeans(shift=own, pooled_shift=everything, target=mean)


def _training_change(
    cells: _Cells, source: str, target: str, chosen: np.ndarray, min_cells: int
) -> np.ndarray | None:
    table = cells.split
    trained = chosen & (table["role"] == TRAINING).to_numpy()
    positions = [
        np.flatnonzero(trained & (table["condition"] == name).to_numpy()) for name in (source, target)
    ]
    strata, found = pd.factorize(
        pd.Series(cells.blocks).astype(str) + " " + table["group"].astype(str).to_numpy()
    )
    codes = [strata[each] for each in positions]
    sizes = np.array([np.bincount(each, minlength=len(found)) for each in codes])
    shared = (sizes > 0).all(axis=0)
    if min(sizes[:, shared].sum(axis=1), default=0) < min_cells:
        return None
    weights = pair_weights(codes[0], codes[1], len(found))
    before, after = pair_means(
        cells.shares[positions[0]], cells.shares[positions[1]], (weights[0][None], weights[1][None])
    )
    return (after - before)[0]


def _comparable(codes: list[np.ndarray], n_blocks: int) -> tuple[int, int]:
    """Source and target cells in blocks that hold both kinds of source cells and two target cells, to be halved."""
    source, reference, target = (np.bincount(each, minlength=n_blocks) for each in codes)
    shared = (source > 0) & (reference > 0) & (target > 1)
    return int((source + reference)[shared].sum()), int(target[shared].sum())


def _sampled(positions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(positions) <= most:
        return positions
    return np.sort(rng.choice(positions, most, replace=False))


def _known(groups: pd.Series) -> list[str]:
    return [name for name in sorted(set(groups.astype(str))) if name != UNKNOWN]
