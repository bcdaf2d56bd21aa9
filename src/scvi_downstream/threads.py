"""One thread for many small matrices: those of BLAS and OpenMP wait for each other longer than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numerical libraries use one thread inside, and what they had afterwards."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
