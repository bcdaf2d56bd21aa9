"""Seconds and peak memory of a block of work."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil

_EVERY_SECONDS = 0.05
_MEBIBYTE = 2**20


class ResourceMeter:
    """Context manager that measures wall seconds and the peak resident memory of this process.

    Attributes
    ----------
    seconds
        Wall time of the block.
    peak_memory_mb
        Highest resident set size seen, in MiB.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_memory_mb = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> ResourceMeter:
        self._start = time.perf_counter()
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self._stop.set()
        self._sampler.join()

    def _sample(self) -> None:
        while True:
            self.peak_memory_mb = max(self.peak_memory_mb, self._process.memory_info().rss / _MEBIBYTE)
            if self._stop.wait(_EVERY_SECONDS):
                return
