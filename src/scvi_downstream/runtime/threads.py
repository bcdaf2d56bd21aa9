"""Threads, cores and the surroundings of work: those of BLAS and OpenMP wait for each other longer than they work."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Environment in which numerical libraries use one thread, but for Numba."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numerical libraries use one thread inside, and what they had afterwards."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_threads() -> int:
    """Threads that a library may use which has to be told: ``OMP_NUM_THREADS``, or one a core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else usable_cores()


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside, for processes that start there, and put back afterwards what they were."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_TALKATIVE = ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "scvi")


@contextmanager
def quiet(talkative: Collection[str] = _TALKATIVE, level: int = logging.ERROR) -> Iterator[None]:
    """Silence loggers below a level, and all warnings, and put everything back afterwards."""
    loggers = [logging.getLogger(name) for name in talkative]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)


# Mini-batch × genes up to which one thread was about as fast as two (256 × 2,500); with another process on the machine
# the waiting of several threads for each other made the same training up to 15 times slower.
ONE_THREAD_UP_TO = 640_000


def choose_torch_threads(batch_size: int, n_genes: int) -> int:
    """Let torch use one thread when a mini-batch is small, otherwise as many as it had at the start.

    Returns the number of threads that torch uses from now on in this process.
    """
    import torch

    at_the_start = _threads_at_the_start()
    threads = 1 if batch_size * n_genes <= ONE_THREAD_UP_TO else at_the_start
    torch.set_num_threads(threads)
    return threads


@cache
def _threads_at_the_start() -> int:
    import torch

    return int(torch.get_num_threads())
