import logging

import pytest

from scvi_downstream.runtime import progress
from scvi_downstream.runtime.progress import Progress, duration, track


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.84, "0.8 s"),
        (42.4, "42 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (59.7, "60 s"),
        (3599.8, "1 h 0 min"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_says_nothing_about_quick_work(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(track(range(5), "counting", 5)) == [0, 1, 2, 3, 4]
    assert not caplog.records


def test_estimates_the_time_left(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    steps = Progress("fitting", 10)
    with caplog.at_level(logging.INFO):
        steps.advance(2, note="at most")
    assert caplog.messages == ["fitting: 20 % (10 s, about 40 s left, at most)"]
