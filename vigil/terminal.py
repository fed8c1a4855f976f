"""What a command shows.

Progress on stderr (a bar on a terminal, lines elsewhere), one JSON object or a table on stdout.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vigil.errors import BadSettings, VigilError
from vigil.json_types import JsonObject

_stderr = Console(
    stderr=True,
    highlight=False,
    soft_wrap=True,
)
stdout_console = Console(
    highlight=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() else 200,
)

PART_S = 5.0
P = ParamSpec("P")
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="one JSON object on stdout",
)


def printable(value: object) -> str:
    """What a terminal shows and does not obey: feature names and reasons come from outside."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )


def say(message: str) -> None:
    """One line of progress."""
    _stderr.print(printable(message), markup=False)


class ProgressSteps:
    """Shows steps of some work: called with a message when one is done.

    `part` tells how far the present one is.
    """

    def __init__(
        self,
        title: str,
        bar: Progress | None,
        total: int,
    ) -> None:
        self._title = title
        self._bar = bar
        self._done = 0
        self._told = time.monotonic()
        self._task = bar.add_task(title, total=total) if bar else None

    def __call__(self, message: str) -> None:
        say(message)
        self._done = self._done + 1
        self._told = time.monotonic()
        self._show(self._title, self._done)

    def part(self, message: str, share: float) -> None:
        """Of the present step this `share` is done.

        Where there is no terminal it is a line every few seconds.
        """
        if self._bar is None and time.monotonic() - self._told > PART_S:
            say(message)
            self._told = time.monotonic()
        self._show(message, self._done + min(share, 1.0))

    def _show(self, title: str, done: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=title, completed=done)


@contextmanager
def show_progress(title: str, total: int) -> Iterator[ProgressSteps]:
    """Progress over about `total` steps: on a terminal a bar, elsewhere lines."""
    if not _stderr.is_terminal:
        yield ProgressSteps(title, None, total)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=_stderr,
        transient=True,
    ) as bar:
        yield ProgressSteps(title, bar, total)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, default=str), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout."""
    made = Table(*columns)
    for row in rows:
        made.add_row(*(Text(printable(value)) for value in row))
    stdout_console.print(made)


def print_listing(
    document: Any,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    as_json: bool,
) -> None:
    """What there is, on stdout: one JSON object, or a table with these rows."""
    if as_json:
        print_json(document)
    else:
        print_table(columns, list(rows))


def print_answer(
    document: Any,
    sentence: str,
    *,
    as_json: bool,
) -> None:
    """What was done, on stdout: one JSON object, or a sentence."""
    if as_json:
        print_json(document)
    else:
        click.echo(sentence)


def print_figures(figures: JsonObject, *, as_json: bool) -> None:
    """Figures on stdout: one JSON object, or a table of two columns."""
    rows = ((name, _figure_in_words(value)) for name, value in figures.items())
    print_listing(
        figures,
        ("figure", "value"),
        rows,
        as_json=as_json,
    )


def _figure_in_words(value: object) -> object:
    """A value as people write it: lists with commas, counts by name, a dash for none."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else value


def report_errors(function: Callable[P, None]) -> Callable[P, None]:
    """Expected errors become one message on stderr (with --json an object on stdout) and exit 1.

    Wrong settings exit 2.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except BadSettings as error:
            _stderr.print(printable(f"error: {error.message}"), style="bold red", markup=False)
            sys.exit(2)
        except VigilError as error:
            if kwargs.get("as_json"):
                print_json(error.body())
            else:
                _stderr.print(printable(f"error: {error.message}"), style="bold red", markup=False)
            sys.exit(1)

    return guarded
