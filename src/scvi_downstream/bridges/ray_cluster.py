"""A Ray of our own on this machine, or a cluster by its address; nothing of it is left afterwards."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scvi_downstream.errors import InputError

_OBJECT_STORE_BYTES = 512 * 2**20
_CONNECT_SECONDS = 10
_LONGEST_TEMPORARY = 24  # sockets below have names of at most 107 characters
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own word for: listen on the loopback address alone
    "RAY_DEDUP_LOGS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_TUNE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one greets at every verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the search, and not only the trials that run
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "20",  # a stopped training leaves at the end of its epoch
}


@contextmanager
def ray_on(
    address: str | None, folder: Path, *, object_store_bytes: int = _OBJECT_STORE_BYTES
) -> Iterator[None]:
    """Have Ray running inside: started here and stopped again, or that of ``address``.

    A local Ray listens on the loopback address alone, shows no dashboard, reports nothing, and keeps its sockets in
    a short temporary folder, which is removed with what an earlier, killed run of the same folder left.

    Parameters
    ----------
    address
        Of a running cluster (``auto``, ``host:port``, ``ray://…``); ``None``: this machine's cores.
    folder
        Where the work's results are kept; tells leftovers of the same work.
    object_store_bytes
        Most memory for what processes share, when Ray is started here.

    Raises
    ------
    InputError
        When nothing answers at ``address``.
    """
    with _environment(_TUNE if address else _TUNE | _LOCAL):
        import ray

        if ray.is_initialized():
            yield
            return
        temporary = None if address else _temporary_folder(folder)
        try:
            if address:
                _connect(address)
            else:
                with _on_the_loopback_address():
                    ray.init(
                        num_cpus=_cores(),
                        include_dashboard=False,
                        _node_ip_address="127.0.0.1",
                        _temp_dir=str(temporary),
                        object_store_memory=object_store_bytes,
                        logging_level=logging.ERROR,
                        log_to_driver=False,
                    )
            yield
        finally:
            ray.shutdown()
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _on_the_loopback_address() -> Iterator[None]:
    """Ray looks at its environment when it is imported, which may have been before."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(address: str) -> None:
    import ray

    try:
        _reach(address)  # Ray itself waits for minutes, or for ever
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"search.ray_address '{address}': no Ray cluster answers there ({str(error).splitlines()[0]}); start one "
            "by `ray start --head`, or leave ray_address empty for this machine"
        ) from error


def _reach(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
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


def _temporary_folder(folder: Path) -> Path:
    import psutil

    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_TEMPORARY:
        parent = Path("/tmp")
    work = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    for left in parent.glob(f"svd{work}_*"):
        process = re.fullmatch(rf"svd{work}_(\d+)", left.name)
        if process and not psutil.pid_exists(int(process[1])):
            shutil.rmtree(left, ignore_errors=True)
    temporary = parent / f"svd{work}_{os.getpid()}"
    temporary.mkdir(mode=0o700, exist_ok=True)
    return temporary
