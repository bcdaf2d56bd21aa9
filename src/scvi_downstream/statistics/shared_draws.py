"""Pairs of posterior draws of two groups of cells, each draw decoded once for all comparisons that need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, exp
from typing import Any

import numpy as np

from scvi_downstream.runtime.progress import Progress
from scvi_downstream.statistics.comparisons import Comparison

BYTES_OF_DRAWS = 2**29
"""Memory of decoded draws that comparisons share; one of them may need more, and none hangs on this number."""
DISTINCT = 1 - exp(-1)
"""Least share of a group's draws that are distinct: about that of scvi-tools, which takes them with replacement."""
_DRAWS_AT_ONCE = 2**13  # between two looks at the progress


@dataclass(frozen=True, eq=False)
class DecodedPairs:
    """Comparisons whose draws are in memory together.

    ``places`` are their positions among all. ``shares`` are float32 ``(n_genes, n_draws)``, of which ``first`` and
    ``second`` are columns, ``(n_comparisons, n_pairs)``, of draws of the two groups.
    """

    places: range
    shares: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True, eq=False)
class _Draws:
    """All draws that there could be, ``n_turns`` of each cell in each layer; those of a layer are decoded alike.

    A draw is known by ``(layer * n_turns + turn) * n_cells + rank``: the rank is its cell's in ``order``, a permutation
    of all cells, which each layer begins at another place.
    """

    order: np.ndarray
    n_layers: int
    n_turns: int

    def of_group(self, cells: np.ndarray) -> np.ndarray:
        """``(n_layers, n_turns)`` draws of the cells of a mask: one of each, then a second of each, and so on.

        Once enough are distinct, they come again in the same order. Those of a large group are of its first cells, so
        that the rests of several groups share most of theirs.
        """
        draws = np.empty((self.n_layers, self.n_turns), dtype=np.int64)
        for layer in range(self.n_layers):
            ranks = np.flatnonzero(cells[np.roll(self.order, -self._begin(layer))])
            turns, places = np.divmod(np.arange(self.n_turns), len(ranks))
            turns %= ceil(DISTINCT * self.n_turns / len(ranks))
            draws[layer] = (layer * self.n_turns + turns) * len(cells) + ranks[places]
        return draws

    def pairs_of(self, comparison: Comparison, seed: int) -> np.ndarray:
        """``(2, n_pairs)`` draws of the two groups, every one in a pair with one of the same layer."""
        second = np.random.default_rng(seed).permuted(self.of_group(comparison.cells2), axis=1)
        return np.stack([self.of_group(comparison.cells1).ravel(), second.ravel()])

    def meant_by(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells, turns, which count on from layer to layer, and layers of draws."""
        turns, ranks = np.divmod(draws, len(self.order))
        layers = turns // self.n_turns
        return self.order[(ranks + self._begin(layers)) % len(self.order)], turns, layers

    def _begin(self, layer: Any) -> Any:
        return layer * (len(self.order) // self.n_layers)


def decode_pairs(
    model: Any,
    comparisons: list[Comparison],
    seeds: list[int],
    seed: int,
    n_samples: int,
    progress: Progress,
    *,
    as_each_batch: bool,
) -> Iterator[DecodedPairs]:
    """Draws of the normalised expression of two groups, in pairs, for each of several comparisons.

    Of each group as many draws are taken, spread evenly over its cells; those of a small group are taken up to twice.

    Parameters
    ----------
    model
        Fitted scvi-tools model whose module encodes and decodes as ``scvi.module.VAE``; its cells are those of the
        masks.
    comparisons, seeds
        Groups of cells, and a seed each, by which their draws are paired.
    seed
        Of the draws: together with a cell and a turn it fixes one, whatever is compared.
    n_samples
        Draws of each group.
    progress
        Is advanced by the draws that are decoded.
    as_each_batch
        Whether an equal part of the draws is decoded as each batch, and paired among itself; otherwise all are decoded
        as of their own.
    """
    from scvi_downstream.models.decoded_shares import decode_draws, encode_cells

    batches = model.adata_manager.get_state_registry("batch").categorical_mapping
    n_layers = len(batches) if as_each_batch else 1
    rng = np.random.default_rng(seed)
    key, order = int(rng.integers(2**63)), rng.permutation(model.adata.n_obs)
    draws = _Draws(order, n_layers, max(n_samples // n_layers, 2))  # two at least, as in scvi-tools
    pairs = [draws.pairs_of(*each) for each in zip(comparisons, seeds, strict=True)]
    runs = list(_runs(pairs, model.adata.n_vars))
    progress.total += sum(len(needed) for _, needed in runs)
    posterior = encode_cells(
        model, np.unique(np.concatenate([draws.meant_by(needed)[0] for _, needed in runs]))
    )
    for places, needed in runs:
        shares = np.empty((model.adata.n_vars, len(needed)), dtype=np.float32)
        for start in range(0, len(needed), _DRAWS_AT_ONCE):
            some = slice(start, start + _DRAWS_AT_ONCE)
            cells, turns, layers = draws.meant_by(needed[some])
            as_batches = layers if as_each_batch else None
            decode_draws(model, posterior, cells, turns, key, as_batches, shares[:, some])
            progress.advance(len(cells))
        columns = np.searchsorted(needed, np.stack([pairs[i] for i in places], axis=1))
        yield DecodedPairs(places, shares, *columns)
        del shares


def _runs(pairs: list[np.ndarray], n_genes: int) -> Iterator[tuple[range, np.ndarray]]:
    """Comparisons in turn whose draws are in memory together, and these draws, sorted."""
    start, held = 0, np.empty(0, dtype=np.int64)
    for i, own in enumerate(pairs):
        needed = np.union1d(held, own)
        if i > start and len(needed) * n_genes * 4 > BYTES_OF_DRAWS:
            yield range(start, i), held
            start, needed = i, np.unique(own)
        held = needed
    yield range(start, len(pairs)), held
