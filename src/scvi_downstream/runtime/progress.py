"""One progress line, with an estimate, for work of more than two seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator

logger = logging.getLogger(__name__)


QUIET_SECONDS = 2.0
LINE_EVERY_SECONDS = 5.0


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.8 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


class Progress:
    """Logs ``label: 40 % (12 s, about 18 s left)`` of ``total`` steps at most every few seconds."""

    def __init__(self, label: str, total: int) -> None:
        self.label = label
        self.total = max(total, 1)
        self.done = 0
        self._start = time.perf_counter()
        self._next_line = self._start + QUIET_SECONDS

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count ``steps`` as done and log when a line is due."""
        self.done += steps
        now = time.perf_counter()
        if now < self._next_line or self.done >= self.total:
            return
        self._next_line = now + LINE_EVERY_SECONDS
        elapsed = now - self._start
        left = elapsed / self.done * (self.total - self.done)
        suffix = f", {note}" if note else ""
        logger.info(
            "%s: %.0f %% (%s, about %s left%s)",
            self.label,
            100 * self.done / self.total,
            duration(elapsed),
            duration(left),
            suffix,
        )


def track[Item](items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield ``items`` and report progress between them."""
    progress = Progress(label, total)
    for item in items:
        yield item
        progress.advance()
