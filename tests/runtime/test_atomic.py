"""A write is complete or it did not happen."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def fill(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text(name)


def test_file_appears_when_complete_and_parents_are_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "table.csv"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [Path.touch, Path.mkdir])
def test_failure_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: BaseException, write: Callable[[Path], None]
) -> None:
    target = tmp_path / "model"
    write(target)
    before = target.stat().st_ino

    def write_half() -> None:
        with replacing(target) as temporary:
            write(temporary)
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert target.stat().st_ino == before
    assert names(tmp_path) == ["model"]


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert names(target) == ["two"]
    assert names(tmp_path) == ["model"]


def test_old_folder_comes_back_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    rename = Path.rename

    def refuse_new(self: Path, to: Path) -> Path:
        if to == target and (self / "new").exists():
            raise OSError(errno.EIO, "input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(InputError, match="input/output error"), replacing(target) as temporary:
        fill(temporary, "new")
    assert names(target) == ["old"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only")],
)
def test_errors_of_the_disk_say_what_to_do(tmp_path: Path, number: int, said: str) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(InputError, match=said) as raised, replacing(target):
        raise OSError(number, os.strerror(number))
    assert str(target) in str(raised.value)
    assert "data_root" in str(raised.value)
    assert target.read_text() == "old"


def test_full_disk_as_hdf5_says_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disk is full"), replacing(tmp_path / "counts.h5ad"):
        raise RuntimeError("Unable to flush file (file write failed: errno = 28, error message = '…')")


def test_other_runtime_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), replacing(tmp_path / "counts.h5ad"):
        raise RuntimeError("shapes differ")


def test_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with (
        pytest.raises(InputError, match=f"{tmp_path / 'data'} is a file, and a folder is needed") as raised,
        replacing(tmp_path / "data" / "study" / "table.csv") as temporary,
    ):
        temporary.write_text("never")
    assert isinstance(raised.value.__cause__, OSError)


def test_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(InputError, match="it is a folder"), replacing(tmp_path / "table.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "table.csv").is_dir()


def test_killed_process_leaves_the_old_file_and_the_next_write_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    code = (
        "import sys, time; from pathlib import Path; from scvi_downstream.runtime.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with replacing(target) as temporary:  # a write that goes on elsewhere is left alone
        temporary.write_text("old")
    assert len(list(tmp_path.glob(".*.partial"))) == 1

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert target.read_text() == "old"
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["table.csv"]


def test_leftover_of_another_machine_goes_after_a_day(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    fresh, stale = (
        tmp_path / f".table.csv.elsewhere-1-{token}.partial" for token in ("0123abcd", "89ab0123")
    )
    other = tmp_path / ".other.csv.elsewhere-1-0123abcd.partial"
    for file in (fresh, stale, other):
        file.write_text("half")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(stale, (two_days_ago, two_days_ago))
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert fresh.exists()
    assert not stale.exists()
    assert other.exists()
