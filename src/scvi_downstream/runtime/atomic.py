"""Writing under a new name and renaming, so that a killed or failed run leaves no half file."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scvi_downstream.runtime.errors import InputError

_DAY = 86_400
_NEARLY_FULL = 100_000  # bytes
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, or set data_root to a folder on another disk",
    errno.EDQUOT: "your disk quota is used up; free some space, or set data_root to a folder on another disk",
    errno.EACCES: "there is no permission to write there; change the folder's permissions, or set data_root",
    errno.EPERM: "there is no permission to write there; change the folder's permissions, or set data_root",
    errno.EROFS: "the file system is read-only; set data_root to a folder that can be written",
}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Write a file or a folder that appears under its name only when it is complete.

    Parameters
    ----------
    target
        Where the file or folder shall be; missing parent folders are made. What is there stays as it is until
        the new one is complete, and for good when anything fails.

    Yields
    ------
    A name that does not exist yet, in the same folder, to write the file or the folder to.

    Raises
    ------
    InputError
        When the place cannot be written to (disk full, no permission, a file where a folder is needed).
    """
    temporary = _temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        yield temporary
        _rename(temporary, target)
    except (OSError, RuntimeError) as error:  # HDF5 says "disk full" by either
        advice = _advice(target, error)
        if advice is None:
            raise
        raise InputError(f"cannot write {target}: {advice}") from error
    finally:
        _remove(temporary)


def _temporary_name(target: Path) -> Path:
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f".{target.name}.{owner}.partial")


def _remove_leftovers(target: Path) -> None:
    pattern = re.compile(re.escape(f".{target.name}.") + r"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.partial")
    for path in target.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _in_use(path, match["host"], int(match["pid"])):
            _remove(path)


def _in_use(leftover: Path, host: str, pid: int) -> bool:
    """Whether the process that began ``leftover`` may still be writing it."""
    import time

    import psutil

    try:
        written = leftover.stat().st_mtime
        if host != socket.gethostname():
            return time.time() - written < _DAY
        # a later process was only given the same number
        return psutil.Process(pid).create_time() <= written + 1
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False


def _rename(temporary: Path, target: Path) -> None:
    if target.exists() and temporary.is_dir() != target.is_dir():
        is_one, wanted = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise InputError(
            f"cannot write {target}: it is a {is_one}, and a {wanted} shall be written there; move it away"
        )
    if not target.is_dir():
        temporary.replace(target)
        return
    old = _temporary_name(target)  # a folder cannot be renamed over another
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def _advice(target: Path, error: OSError | RuntimeError) -> str | None:
    blocking = next((parent for parent in target.parents if parent.exists() and not parent.is_dir()), None)
    if blocking is not None:
        return f"{blocking} is a file, and a folder is needed there; move it away, or set data_root"
    number = getattr(error, "errno", None)
    if number is None:
        stated = re.search(r"errno = (\d+)", str(error))
        number = int(stated[1]) if stated else None
    if number is None and _is_full(target.parent):  # PyTorch says only that writing failed
        number = errno.ENOSPC
    if number in _ADVICE:
        return _ADVICE[number]
    return str(error) if isinstance(error, OSError) else None


def _is_full(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free < _NEARLY_FULL
