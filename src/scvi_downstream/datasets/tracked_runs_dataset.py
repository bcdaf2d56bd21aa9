"""``TrackedRunsDataset`` reads runs of a tracking store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, TablePreview


class TrackedRunsDataset(AbstractDataset):
    """``TrackedRunsDataset`` loads runs and their models as one table; it writes nothing.

    The store is ``MLFLOW_TRACKING_URI``, else ``tracking_uri``, else the SQLite file at ``filepath``.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        tracked_runs:
          type: scvi_downstream.datasets.TrackedRunsDataset
          filepath: mlflow.db
          runs: [pbmc68k, kang]
          study: pbmc68k

    Using the Python API:

    >>> from scvi_downstream.datasets import TrackedRunsDataset
    >>> from scvi_downstream.tracking import StudyTracker
    >>> uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    >>> tracker = StudyTracker(uri, "pbmc", tmp_path / "artifacts")
    >>> tracker.start("first", ["scvi"], {})
    >>> tracker.log_metrics("scvi", {"elbo_test": -470.5})
    >>> tracker.finish("FINISHED")
    >>> runs = TrackedRunsDataset(filepath=tmp_path / "mlflow.db", tracking_uri=uri, runs=["pbmc"]).load()
    >>> runs[["run", "model", "metric.elbo_test"]].values.tolist()
    [['first', 'scvi', -470.5]]
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        runs: Sequence[str] = (),
        study: str = "",
        experiment: str | None = None,
        tracking_uri: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Choose runs.

        Parameters
        ----------
        filepath
            SQLite file of the project's own store.
        runs
            Run ids, names of runs or names of studies; empty: the newest of ``study``.
        study
            Name of the study.
        experiment
            Name of its experiment, where that is another.
        tracking_uri
            Address of another store.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self._runs = tuple(runs)
        self._experiment = experiment or study
        self._tracking_uri = tracking_uri
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": self._filepath,
            "runs": self._runs,
            "experiment": self._experiment,
            "tracking_uri": self._tracking_uri,
        }

    def load(self) -> pd.DataFrame:
        """One row a model of each run; see :func:`scvi_downstream.tracking.reading.read_runs`."""
        from scvi_downstream.tracking.reading import read_runs
        from scvi_downstream.tracking.runs import tracking_uri

        uri = tracking_uri(self._tracking_uri, self._filepath.parent)
        return read_runs(uri, self._runs, self._experiment)

    def save(self, data: Any) -> NoReturn:
        """Refuse: runs are written by what runs."""
        raise DatasetError("runs of the tracking store are read only")

    def fingerprint(self) -> None:
        """None: the store gains runs all the time, so that what is made of them is never up to date."""

    def _exists(self) -> bool:
        return True

    def preview(self, nrows: int = 10) -> TablePreview:
        """Nothing: a store may be a server, which no page should wait for."""
        del nrows
        return NO_PREVIEW
