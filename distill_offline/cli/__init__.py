"""The command line: each verb parses, calls one library function and shows its result."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from distill_offline import __version__, offline
from distill_offline.cli.verbs import VERBS
from distill_offline.errors import DistillError, Interrupted, os_fault
from distill_offline.offline.signals import own_sigchld

__all__ = ["main"]


class _Verbs(click.Group):
    """Verbs that are imported when they are asked for: the list of them costs little more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*VERBS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"distill_offline.cli.{verb.module}"), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in sorted(VERBS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but Ctrl-C ends every verb with the same exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted. The same command does it again, or goes on.") from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distill-offline")
@click.option(
    "--isolate",
    is_flag=True,
    help="Have the kernel give the command no network but loopback; if it cannot, do not run it.",
)
def commands(isolate: bool) -> None:
    """Turn a local open LLM into a small, fast, auditable NLP model, inside a network that nothing leaves.

    Nothing connects to any other host; only `models fetch` does. With `--isolate` before the command, the kernel
    enforces that.

    Exit codes: 0 done, 1 failed, 2 a mistake in the command, configuration or input, 3 too many rows quarantined,
    4 something is missing on this machine, 5 a quality gate was missed, 130 interrupted (run it again).
    """
    if isolate:
        from distill_offline.offline import isolation

        isolation.restart_isolated()


def main() -> None:
    """The entry point: offline from the first moment; a user's mistake becomes one clean line and an exit code."""
    own_sigchld()
    try:
        if not offline.enforce_from_environment():
            offline.enforce()
        commands(prog_name="distill-offline")
    except DistillError as error:
        _fail(error)
    except OSError as error:
        _fail(os_fault(error))  # not ours to mend: a disk that is full or read-only, a file that may not be read


def _fail(error: DistillError) -> NoReturn:
    from distill_offline.cli.console import Console

    Console().error(error)
    sys.exit(error.exit_code)
