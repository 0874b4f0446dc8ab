"""What several verbs share: the options of a configuration, the run folder, and stopping on a signal."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.log import log
from distill_offline.errors import Interrupted
from distill_offline.offline.signals import DRAINS

__all__ = [
    "NumberRange",
    "command_line",
    "config_options",
    "format_option",
    "json_option",
    "language_option",
    "on_bad_file_option",
    "open_run",
    "show_plan",
    "stopping",
]

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and only that.")
on_bad_file_option = click.option(
    "--on-bad-file",
    type=click.Choice(["error", "skip"]),
    default="error",
    help="What to do with a file of a folder that is empty or not UTF-8.",
)
language_option = click.option(
    "--language",
    help="Cut raw text into the words of this language, as corpus.language does [by rules for every script].",
)


class NumberRange(click.FloatRange):
    """A number within bounds; `nan`, which no bound keeps out, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail("nan is not a number.", param, ctx)
        return number


def format_option(*names: str, what: str) -> Callable[..., Any]:
    """An option that names a corpus format."""
    return click.option(
        *names,
        metavar="NAME",
        help=f"The format of {what}: columns, text, jsonl, parquet, another tool's (docs/formats.md), an installed "
        "one, or package.module:Name [by the suffix].",
    )


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """CONFIG, -o, --set, --dry-run and --json."""
    for decorate in (
        json_option,
        click.option("--dry-run", is_flag=True, help="Say what would be done, with counts; start no engine."),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=completing.settings,
            help="Change one setting: section.key=value.",
        ),
        click.option("-o", "--output", type=click.Path(path_type=Path), help="The run folder [runs/NAME]."),
        click.argument("config", type=click.Path(path_type=Path), shell_complete=completing.configs),
    ):
        function = decorate(function)
    return function


@contextmanager
def open_run(config: Path, output: Path | None, changes: tuple[str, ...], console: Console) -> Iterator[Any]:
    """The RunFolder of a configuration, wired to the console and to signals."""
    from distill_offline.config.loading import load
    from distill_offline.corpus import resolve_path
    from distill_offline.run.folder import RunFolder

    settings = load(resolve_path(str(config)), changes)
    with stopping(console) as stop:
        yield RunFolder(
            output or Path("runs") / settings.name,
            settings,
            command=command_line(),
            say=console.say,
            watch=console.watch,
            stop=stop,
            on_warning=console.warn,
        )


def command_line() -> tuple[str, ...]:
    """The command as the user could type it again."""
    return ("distill-offline", *sys.argv[1:])


@contextmanager
def stopping(console: Console) -> Iterator[Callable[[], bool]]:
    """A function that tells whether to stop: after Ctrl-C, SIGTERM, or a scheduler's SIGUSR1.

    What is under way is drained and committed. A second Ctrl-C aborts at once. On the way out, the command that
    resumes is printed.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        name = signal.Signals(number).name
        told = f"{name}: finishing what is under way; press Ctrl-C to abort at once."
        # A handler must not print through rich: it may interrupt rich's own printing.
        if log.shows("info"):
            os.write(2, (log.line("info", told) if log.as_json else f"\n{told}\n").encode())

    before = {number: signal.signal(number, note) for number in DRAINS}
    try:
        yield lambda: bool(received)
    except Interrupted:
        console.say(f"to go on: {shlex.join(command_line())}")
        raise
    except KeyboardInterrupt:
        console.say(f"aborted; what was stored is kept. To go on: {shlex.join(command_line())}")
        raise Interrupted("aborted.") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_plan(console: Console, plan: list[dict[str, Any]]) -> None:
    """A dry run's steps."""
    if console.as_json:
        console.json(plan)
        return
    rows = [[step["stage"], "up to date" if step["fresh"] else "would run", step["detail"]] for step in plan]
    console.table("dry run", ["stage", "state", "what"], rows)
