"""How many threads torch should use: small matrices are faster, and safe from busy neighbours, on one."""

from __future__ import annotations

from functools import cache

# Mini-batch × genes up to which one thread was about as fast as two (256 × 2,500); with another process on the machine
# the waiting of several threads for each other made the same training up to 15 times slower.
ONE_THREAD_UP_TO = 640_000


def choose_torch_threads(batch_size: int, n_genes: int) -> int:
    """Let torch use one thread when a mini-batch is small, otherwise as many as it had at the start.

    Parameters
    ----------
    batch_size, n_genes
        Shape of a mini-batch.

    Returns
    -------
    The number of threads that torch uses from now on in this process.
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
