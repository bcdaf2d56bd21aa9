"""The one error that users see for something they can mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

from scvi_downstream.runtime.words import up_to


class InputError(ValueError):
    """Something in the user's data or configuration; the message names it and says what to do."""


def closest(name: str, choices: Iterable[str]) -> str:
    """What would have been accepted in place of ``name``, as the end of a sentence.

    The choice nearest in spelling, ``"; the closest is 'donor'"``, or the choices themselves when none is close.
    """
    known = [str(choice) for choice in choices]
    by_lower = {choice.lower(): choice for choice in known}
    matches = get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=0.5)
    if matches:
        return f"; the closest is '{by_lower[matches[0]]}'"
    if not known:
        return "; there are none"
    return f"; there are {up_to([f"'{choice}'" for choice in known], 12)}"


def require_extra(library: str, extra: str, what: str) -> None:
    """Refuse ``what`` while a library is not installed that only optional dependencies of the project bring.

    Raises
    ------
    InputError
        It is not; the message says how to install it.
    """
    if find_spec(library) is None:
        raise InputError(
            f"{what} needs {library}, which is not installed: pip install 'scvi-downstream[{extra}]'"
        )


def plain_error(error: BaseException) -> InputError | None:
    """The InputError in a chain of exceptions, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, InputError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
