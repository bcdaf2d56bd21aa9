"""Orders of all representations compared, with each other and with known time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.parameters import Keys, TrajectoryOptions

from .agreement import rank_agreement
from .consensus import consensus_pseudotime
from .known_time import known_time
from .time_confounding import time_agreement

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

ORDERS = ("dpt_pseudotime", "slingshot_consensus", "graph_pseudotime")
"""What the consensus is over."""
EVERY_ORDER = (
    "pseudotime",
    "dpt_pseudotime",
    "slingshot_pseudotime",
    "slingshot_consensus",
    "graph_pseudotime",
)
ALL_REPRESENTATIONS = "all representations"


def compare_orders(**orders: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation between all orders of all representations; see :func:`.agreement.rank_agreement`.

    Parameters
    ----------
    orders
        Orders by cell of each representation.
    """
    columns = {
        f"{name} {order}": table[order] for name, table in orders.items() for order in _orders_in(table)
    }
    return rank_agreement(pd.DataFrame(columns))


def compare_with_time(
    counts: AnnData, keys: Keys, options: TrajectoryOptions, seed: int, **orders: pd.DataFrame
) -> pd.DataFrame:
    """Rank correlation of every order with known time, over all cells and within batches.

    Parameters
    ----------
    counts
        obs holds the time and the batch.
    keys, options
        Name them.
    seed
        Of the bootstrap.
    orders
        Orders by cell of each representation.

    Returns
    -------
    One row a representation and order, the highest first; the last representation is the consensus of all.
    """
    time = known_time(counts.obs, str(options.time_key))
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    every = {name: table.loc[counts.obs_names, list(_orders_in(table))] for name, table in orders.items()}
    basic = [table[[name for name in ORDERS if name in table]] for table in every.values()]
    if len(basic) > 1:
        joined = pd.concat(basic, axis=1, keys=range(len(basic)))
        every[ALL_REPRESENTATIONS] = consensus_pseudotime(joined).to_frame()
    agree = partial(time_agreement, time=time, batches=batches, seed=seed)
    tables = [agree(table).assign(representation=name) for name, table in every.items()]
    joined = pd.concat(tables, ignore_index=True)
    columns = ["representation", *(name for name in joined if name != "representation")]
    return joined[columns].sort_values("spearman", ascending=False, kind="stable", ignore_index=True)


def _orders_in(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in (*EVERY_ORDER, "monocle_r_pseudotime") if name in table)
