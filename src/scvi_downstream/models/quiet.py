"""Silence for what scvi-tools and Lightning print; the project logs its own lines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "scvi")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence their loggers and warnings, and put everything back afterwards."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
