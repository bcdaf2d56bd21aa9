"""`kedro run` of this project: the study's own runner, and errors that the user can mend are one message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import copy
from importlib.util import find_spec
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from scvi_downstream.runtime.errors import plain_error, require_extra

RUNNER = "scvi_downstream.engine.runner.StudyRunner"


@click.group()
def cli() -> None:
    """Commands of scvi-downstream."""


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


def _with_own_runner(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **{**kwargs, "runner": kwargs.get("runner") or RUNNER})

    return wrapped


run = copy(kedro_run)
if kedro_run.callback is not None:
    run.callback = _with_own_runner(_with_plain_errors(kedro_run.callback))
cli.add_command(run)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("given", nargs=-1)
@_with_plain_errors
def viz(given: tuple[str, ...]) -> None:
    """Stand in for Kedro-Viz where it is not installed."""
    require_extra("kedro_viz", "viz", "kedro viz")


if find_spec("kedro_viz") is None:
    cli.add_command(viz)
