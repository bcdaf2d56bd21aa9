"""`kedro run` of this project: errors that the user can mend are one message, not a traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import copy
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from scvi_downstream.errors import InputError


@click.group()
def cli() -> None:
    """Commands of scvi-downstream."""


def plain_error(error: BaseException) -> InputError | None:
    """The InputError in a chain of exceptions, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, InputError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _with_plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            plain = plain_error(error)
            if plain is None:
                raise
            raise click.ClickException(str(plain)) from None

    return wrapped


run = copy(kedro_run)
if kedro_run.callback is not None:
    run.callback = _with_plain_errors(kedro_run.callback)
cli.add_command(run)
