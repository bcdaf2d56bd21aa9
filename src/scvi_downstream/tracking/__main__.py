"""``python -m scvi_downstream.tracking http://127.0.0.1:5000`` prints where the newest runs are; `make ui` does."""

from __future__ import annotations

import sys
from pathlib import Path

from scvi_downstream.tracking.page import PARENT_TAG, run_address
from scvi_downstream.tracking.runs import SQLITE, open_store, tracking_uri

_MOST = 5


def newest_runs(uri: str, server: str) -> dict[str, str]:
    """Study → address of its newest run on ``server``, of the studies of a tracking store that ran last."""
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return {}
    client = open_store(uri)
    found = {}
    for experiment in client.search_experiments(max_results=_MOST, order_by=["last_update_time DESC"]):
        of_study = [experiment.experiment_id]
        for run in client.search_runs(of_study, max_results=1, order_by=["attributes.start_time DESC"]):
            parent = run.data.tags.get(PARENT_TAG, run.info.run_id)
            found[experiment.name] = f"{server}/{run_address(experiment.experiment_id, parent)}"
    return found


if __name__ == "__main__":
    for study, address in newest_runs(tracking_uri(None, Path.cwd()), sys.argv[1]).items():
        print(f"newest run of {study}: {address}")
