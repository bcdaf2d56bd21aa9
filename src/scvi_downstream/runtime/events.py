"""What happens inside long work, told to whoever listens: tracking listens, nodes need not know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

TrialStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of a training: curves by name at an epoch, counted from 1."""

    model: str
    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrialStarted:
    """A trial of an adaptive search begins, with the parameters that were drawn for it."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class TrialEnded:
    """A trial of an adaptive search is over: its scores, or the reason why there are none."""

    name: str
    status: TrialStatus
    scores: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class DatasetsReused:
    """Datasets that are there from an earlier run, and the names of the nodes that need not run (or cannot)."""

    names: tuple[str, ...]
    nodes: tuple[str, ...]


Event = EpochEnded | TrialStarted | TrialEnded | DatasetsReused
Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def publish(event: Event) -> None:
    """Tell every listener of this process."""
    for listener in tuple(_listeners):
        listener(event)


def listen(listener: Listener) -> None:
    """Have ``listener`` told of every event from now on."""
    _listeners.append(listener)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have ``listener`` told of every event inside."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
