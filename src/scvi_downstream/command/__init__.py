"""`scvi-downstream`, for those who do not know Kedro: the same session, hooks, runner and catalogue as `kedro run`.

Nothing is imported here that takes time: each command imports what it uses.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scvi_downstream import __version__

NAME = "scvi-downstream"
_STOPPED = 130
"""What shells call a command that Ctrl-C has ended."""
_FOLDER = click.Path(file_okay=False, resolve_path=True, path_type=Path)
_COMPLETION = f'eval "$(_SCVI_DOWNSTREAM_COMPLETE=bash_source {NAME})"'


class _Commands(click.Group):
    """What users can mend is one message and exit status 1; Ctrl-C is no error of theirs."""

    def invoke(self, ctx: click.Context) -> Any:
        from scvi_downstream.runtime.errors import plain_error

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "\nStopped. What is finished is kept, and the same command goes on from there.", err=True
            )
        except Exception as error:
            plain = plain_error(error)
            if plain is None:
                raise
            raise click.ClickException(str(plain)) from None
        gc.collect()  # what is shared with other processes goes with the frames of the run
        sys.stdout.flush()
        os._exit(_STOPPED)  # else Python waits seconds for what is still to be told to MLflow


@click.group(
    NAME,
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=f"The shell completes commands and options after `{_COMPLETION}` (zsh_source, fish_source).",
)
@click.version_option(__version__)
def main() -> None:
    """Everything that scvi-tools models can tell about single-cell counts, in one report.

    \b
      scvi-downstream check cells.h5ad      what is in the file, and the command to run
      scvi-downstream run cells.h5ad --batch donor --label cell_type
      scvi-downstream report                the report of this folder's study, in the browser
    """  # noqa: D301  (click keeps lines after a backspace)


def _in_folder(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--out", type=_FOLDER, default=".", help="Folder of the results.  [default: the current one]"
    )(command)


def _of_study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what is analysed, and how."""
    options = (
        click.option("--batch", help="obs column that the model corrects for: donor, lane, technology."),
        click.option("--label", help="obs column with cell types."),
        click.option("--sample", help="obs column of the replicates: donor or library."),
        click.option("--condition", help="obs column that is compared: treatment, disease."),
        click.option("--layer", help="Layer with the raw counts, or raw.  [default: X]"),
        click.option("--study", metavar="NAME", help="Name of the results.  [default: the input's]"),
        click.option("--seed", type=click.IntRange(min=0), help="The one seed.  [default: 0]"),
        click.option("--workers", type=click.IntRange(min=1), help="Steps at once.  [default: one a core]"),
        click.option(
            "--set",
            "others",
            metavar="NAME=VALUE",
            multiple=True,
            callback=_read_others,
            help="Any other parameter by its dotted name, with a value in YAML; as often as needed.",
        ),
        click.option(
            "--conf",
            type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
            help="Folder with your own YAML on top of the defaults: parameters.yml.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return _in_folder(command)


def _read_others(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """``a.b=3`` as ``{"a": {"b": 3}}``."""
    import yaml

    read: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"'{text}' is not NAME=VALUE, such as training.max_epochs=50")
        *groups, last = name.split(".")
        place = read
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"'{text}': {group} has a value already")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"'{text}' is not YAML after the '='") from error
    return read


@main.command()
@click.argument("source", metavar="INPUT")
@_of_study
def run(source: str, out: Path, conf: Path | None, **given: Any) -> None:
    """Analyse the cells of INPUT and say where the results are.

    INPUT has raw counts: an .h5ad, .h5mu or .zarr, a 10x .h5 or matrix folder, or the word pbmc68k for 700 PBMCs
    to try. Without a key the analyses that need it are left out. What is up to date is not run again.

    \b
    Examples:
      scvi-downstream run pbmc68k
      scvi-downstream run cells.h5ad --batch donor --label cell_type
      scvi-downstream run cells.h5ad --batch donor --sample donor --condition treatment --out results
      scvi-downstream run cells.h5ad --set models.scvi.n_latent=30 --set "clustering.leiden_resolutions=[0.5, 1]"
    """  # noqa: D301  (click keeps lines after a backspace)
    from scvi_downstream.command.session import parameters_of, run_study

    run_study(out, conf, parameters_of(source, **given))


@main.command()
@click.argument("source", metavar="INPUT")
@click.option("--layer", help="Layer with the raw counts, or raw.  [default: X]")
def check(source: str, layer: str | None) -> None:
    """Say what is in INPUT, which obs columns look like keys, and the command to run.

    Exit status 0: it can be run; 1: it cannot, and why. Only headers, obs and some of the counts are read.

    \b
    Examples:
      scvi-downstream check cells.h5ad
      scvi-downstream check cells.h5ad --layer counts
    """  # noqa: D301  (click keeps lines after a backspace)
    from scvi_downstream.command.inspection import described

    click.echo(described(source, layer))


@main.command()
@click.argument("study", required=False)
@_in_folder
@click.option("--no-open", is_flag=True, help="Only print where it is.")
def report(study: str | None, out: Path, *, no_open: bool) -> None:
    """Open the report of STUDY, or of the one run last, in the browser."""
    from scvi_downstream.command.pages import find_report

    path = find_report(out, study)
    click.echo(path)
    if not no_open:
        click.launch(path.as_uri())


@main.command()
@_in_folder
@click.option("--port", type=int, default=5000, envvar="PORT", show_default=True)
def ui(out: Path, port: int) -> None:
    """Compare models and runs in MLflow, in the browser."""
    from scvi_downstream.command.pages import serve_tracking

    serve_tracking(out, port)


@main.command()
@click.argument("source", metavar="[INPUT]", default="pbmc68k")
@_of_study
@click.option("--port", type=int, default=4141, show_default=True)
def viz(source: str, out: Path, conf: Path | None, port: int, **given: Any) -> None:
    """Look at the pipeline in Kedro-Viz, in the browser: of a study with the same options as for run."""
    from scvi_downstream.command.pages import serve_pipeline
    from scvi_downstream.command.session import parameters_of

    serve_pipeline(out, conf, parameters_of(source, **given), port)
