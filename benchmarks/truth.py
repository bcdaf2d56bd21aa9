"""Type I error and power of what the project tests and calls, on simulated data of which the truth is known.

    python benchmarks/truth.py [--repeats 50] [--only CAPABILITY ...] [--page docs/truth.md]

Each capability runs on data in which nothing is planted, and on data in which something is. Each repeat simulates anew
and is one independent observation, however many genes, groups or cells it tests. What a model would give, a latent or
densities of it, comes from the simulation; only the Bayesian test of expression trains one. To add a test, yield its
:class:`.truth_errors.Tested` from a function of ``truth_expression.py`` or ``truth_structure.py``, and list that in
``CAPABILITIES`` there.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import truth_expression
import truth_structure
from truth_errors import Capability, Row, measure

CAPABILITIES = (*truth_expression.CAPABILITIES, *truth_structure.CAPABILITIES)
COLUMNS = ("test", "data", "level", "n", "tests", "type I error", "verdict", "any call", "FDR", "power")


def measure_all(capabilities: Iterable[Capability], repeats: int) -> Iterator[Row]:
    """Rows of every capability, with a line to stderr on how long each took."""
    for capability in capabilities:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = measure(capability, repeats)
        print(f"{capability.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        yield from rows


def as_markdown(rows: list[Row], repeats: int, seconds: float) -> str:
    """The page of the docs."""
    parts = []
    for name in dict.fromkeys(row.capability for row in rows):
        lines = [" | ".join(COLUMNS), "|".join(["---"] * len(COLUMNS))]
        lines += [" | ".join(row.cells()) for row in rows if row.capability == name]
        parts.append(f"## {name}\n\n" + "\n".join(f"| {line} |" for line in lines))
    verdicts = [row.verdict for row in rows]
    counted = ", ".join(
        f"{verdicts.count(each)} {each}" for each in ("within", "conservative", "not calibrated")
    )
    tables = "\n\n".join(parts)
    return f"""# Null and truth

Errors and power of the project's tests, intervals and calls on simulated data of which the truth is known: {counted}.

Made by `python benchmarks/truth.py --repeats {repeats} --page docs/truth.md` in {seconds / 60:.0f} minutes on one core; do not edit.

`n` data sets hold nothing to be found, and as many do; `tests` are made in each. `type I error` is the share of p-values
at or below the level where there is nothing (of tests that make calls only, the share of data sets with a call), with
its 95 % range over data sets, since tests of one data set depend on one another. `any call` is the share of these data
sets, or of the comparisons in them, with a call at the project's false discovery rate, `FDR` the share of the calls
that are false where something is planted, `power` the share of the planted that is called. `within`: the range of each
error reaches the level or a fifth beyond; `not calibrated`: one lies above that; `conservative`: the first lies below
four fifths of the level.

{tables}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--only", nargs="*", choices=[each.name for each in CAPABILITIES])
    parser.add_argument("--page", type=Path)
    parsed = parser.parse_args()
    started = time.perf_counter()
    chosen = [each for each in CAPABILITIES if not parsed.only or each.name in parsed.only]
    rows = list(measure_all(chosen, parsed.repeats))
    page = as_markdown(rows, parsed.repeats, time.perf_counter() - started)
    print(page)
    if parsed.page:
        parsed.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
