"""Silence for what scvi-tools and Lightning print; the project logs its own lines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

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
