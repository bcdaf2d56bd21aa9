"""Settings of all figures: those of ``figures.mplstyle``, and over them those of the user's own file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.figure_style import own_style

ENLARGED = 1.5
"""Figures are drawn half as large again as they are printed: inches and points of code are those of the drawing."""
# Of a style file, whose points are those of the printed figure.
_IN_POINTS = re.compile(
    r"(\.(size|width|pad)|(font|title|label|marker|cap)size|linewidth|edgewidth|(title|label)pad)$"
)


def style_settings() -> Mapping[str, Any]:
    """Matplotlib's settings of a drawing.

    Raises
    ------
    InputError
        The user's file cannot be read, or one of its settings is unknown or wrong.
    """
    return _settings(*own_style())


def use_style() -> None:
    """Let Matplotlib draw by these settings, and by its own defaults where there are none.

    What a ``matplotlibrc`` says does not count: no record knows of it.
    """
    import matplotlib.style

    settings = style_settings()
    matplotlib.style.use("default")
    matplotlib.rcParams.update(settings)


def palette() -> list[str]:
    """Colours of categories."""
    return style_settings()["axes.prop_cycle"].by_key()["color"]


def dots_per_inch() -> float:
    """Pixels an inch of a drawing."""
    settings = style_settings()
    dots = settings["savefig.dpi"]
    return (settings["figure.dpi"] if dots == "figure" else dots) / ENLARGED


@lru_cache(maxsize=4)
def _settings(path: str, text: str) -> Mapping[str, Any]:
    with as_file(files(__package__).joinpath("figures.mplstyle")) as shipped:
        settings = _read(str(shipped)) | (_read(path) if text else {})
    return {
        name: value * ENLARGED if isinstance(value, float) and _IN_POINTS.search(name) else value
        for name, value in settings.items()
    }


def _read(path: str) -> dict[str, Any]:
    """Settings of a file; what Matplotlib would only warn of is an error."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties, findfont, get_font_names

    heard: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        heard.append(record.getMessage().strip().partition("\n")[0])
        return False

    logger = logging.getLogger("matplotlib")
    logger.addFilter(hear)
    try:
        settings = dict(mpl.rc_params_from_file(path, use_default_template=False))
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"figure_style {path} cannot be read as a style file of Matplotlib: {error}"
        ) from None
    finally:
        logger.removeFilter(hear)
    if heard:
        unknown = re.match(r"Bad key (\S+)", heard[0])
        raise InputError(f"figure_style: {heard[0]}{closest(unknown[1], mpl.rcParams) if unknown else ''}")
    cycle, cmap = settings.get("axes.prop_cycle"), settings.get("image.cmap")
    if cycle is not None and "color" not in cycle.keys:
        raise InputError(
            f"figure_style {path}: axes.prop_cycle names no colours: give cycler('color', ['0072B2', …])"
        )
    if cmap is not None and cmap not in mpl.colormaps:
        raise InputError(
            f"figure_style {path}: there is no image.cmap '{cmap}'{closest(cmap, mpl.colormaps)}"
        )
    with mpl.rc_context(settings):
        try:
            findfont(FontProperties(), fallback_to_default=False)
        except ValueError:
            family = ", ".join(mpl.rcParams["font.family"])
            raise InputError(
                f"figure_style {path}: no font.family '{family}' is installed{closest(family, get_font_names())}"
            ) from None
    return settings
