"""What MLflow's pages show of a study: a view of all its models, and the text of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from scvi_downstream.report.sections import names

if TYPE_CHECKING:
    import pandas as pd

    from scvi_downstream.pipelines.reporting.findings import Line

PARENT_TAG = "mlflow.parentRunId"
BOARD = names("scib_total scib_bio_conservation scib_batch_correction elbo_test marginal_ll_test seconds")
REPORT = "report.html"
_VIEW = "models"
# In any order but that of time, MLflow shows models beside one another, not within their run.
_BEST_FIRST = {"orderByKey": f"metrics.`{BOARD[0]}`", "orderByAsc": False}
_MOST_ROWS = 10
_MOST_STUDIES = 5
# Without it MLflow opens its pages on traces of language models, whatever kind an experiment is.
_MODEL_TRAINING = {"workflowType": "machine_learning"}


def experiment_tags() -> Mapping[str, str]:
    """Tags by which MLflow opens an experiment on runs and offers a view of its models, the best first."""
    view = {
        "searchFilter": "tags.model LIKE '%'",
        **_BEST_FIRST,
        "selectedColumns": [f"metrics.`{name}`" for name in BOARD],
    }
    saved = {"name": "Models", "createdAt": 0, "state": json.dumps(view)}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{_VIEW}": json.dumps(saved),
    }


def run_address(experiment: str, run: str, tab: str = "") -> str:
    """Of the page of a run, from the server's root."""
    return f"#/experiments/{experiment}/runs/{run}{tab}?{urlencode(_MODEL_TRAINING)}"


def newest_runs(uri: str, server: str) -> dict[str, str]:
    """Study → address of its newest run on ``server``, of the studies of a tracking store that ran last."""
    from scvi_downstream.tracking.runs import SQLITE, open_store

    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return {}
    client = open_store(uri)
    found = {}
    for experiment in client.search_experiments(
        max_results=_MOST_STUDIES, order_by=["last_update_time DESC"]
    ):
        of_study = [experiment.experiment_id]
        for run in client.search_runs(of_study, max_results=1, order_by=["attributes.start_time DESC"]):
            parent = run.data.tags.get(PARENT_TAG, run.info.run_id)
            found[experiment.name] = f"{server}/{run_address(experiment.experiment_id, parent)}"
    return found


def run_text(
    experiment: str, run: str, lines: Iterable[Line], report: str | None, board: pd.DataFrame | None
) -> str:
    """Markdown for the page of a run.

    Parameters
    ----------
    experiment, run
        Their identifiers, for links.
    lines
        What was found, a line a capability.
    report
        Where the page is; ``None``: the run has made none.
    board
        The leaderboard, one row a model; ``None``: the run compared no models.
    """
    of_run = {**_BEST_FIRST, "searchFilter": f"tags.`{PARENT_TAG}` = '{run}'", "compareRunsMode": "CHART"}
    runs = f"#/experiments/{experiment}/runs?{urlencode(_MODEL_TRAINING)}&"
    links = [f"[Report]({run_address(experiment, run, f'/artifacts/{REPORT}')})"] if report else []
    links += [
        f"[Curves]({runs}{urlencode(of_run, quote_via=quote)})",
        f"[Models of all runs]({runs}viewStateShareKey={_VIEW})",
    ]
    found = [f"- **{line.section.title}** ({line.trust}): {line.text}" for line in lines]
    parts = [
        " · ".join(links),
        "\n".join(found),
        "" if board is None else "\n".join(_table(board)),
        f"The report is also in `{report}`." if report else "",
    ]
    return "\n\n".join(filter(None, parts))


def _table(board: pd.DataFrame) -> Iterator[str]:
    from scvi_downstream.report.tables import table_view

    wanted = [name for name in ("model", *BOARD) if name in board]
    view = table_view(board[wanted].dropna(axis="columns", how="all"), _MOST_ROWS)
    yield _row(column.title for column in view.columns)
    yield f"|{'---|' * len(view.columns)}"
    yield from (_row(cell.text for cell in row) for row in view.rows)
    if view.cut:
        yield f"\nThe first {len(view.rows)} of {view.total} rows of the board."


def _row(cells: Iterable[str]) -> str:
    return f"| {'&nbsp; | '.join(cells)} |"
