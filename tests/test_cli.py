from itertools import pairwise

import click
import pytest
from click.testing import CliRunner

from scvi_downstream.cli import _with_plain_errors, viz
from scvi_downstream.runtime import errors
from scvi_downstream.runtime.errors import InputError, plain_error


def chain(*errors: Exception) -> Exception:
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def test_finds_the_users_error_inside_others() -> None:
    wanted = InputError("batch_key 'donr' is not in obs")
    assert plain_error(chain(RuntimeError("saving"), ValueError("writing"), wanted)) is wanted
    assert plain_error(chain(RuntimeError("saving"), ValueError("writing"))) is None


def test_users_errors_become_one_message() -> None:
    def command() -> None:
        raise chain(RuntimeError("loading failed"), InputError("cells.h5ad is truncated"))

    with pytest.raises(click.ClickException, match="is truncated") as error:
        _with_plain_errors(command)()
    assert error.value.exit_code != 0


def test_bugs_keep_their_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _with_plain_errors(command)()


def test_kedro_viz_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda _: None)
    said = CliRunner().invoke(viz, ["run", "--include-hooks"])
    assert said.exit_code == 1
    assert (
        "kedro viz needs kedro_viz, which is not installed: pip install 'scvi-downstream[viz]'" in said.output
    )
